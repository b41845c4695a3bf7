package plugin

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Request is a request to a route, whatever its body is: the arguments that a route's function gets, by name.
type Request struct {
	values map[string]json.RawMessage
}

// UploadedFile is a file of a form (multipart/form-data).
type UploadedFile struct {
	// Name is the field's name.
	Name string `json:"name"`
	// Filename is what the client calls the file: anything, and no path to be trusted.
	Filename string `json:"filename"`
	// ContentType is what the client says it is.
	ContentType string `json:"content_type"`
	// Size is in bytes.
	Size int64 `json:"size"`
	// Data is the content.
	Data []byte `json:"data"`
}

// ParseRequest reads the arguments of a route's function.
func ParseRequest(args json.RawMessage) (*Request, error) {
	request := &Request{values: map[string]json.RawMessage{}}
	if len(args) == 0 {
		return request, nil
	}
	if err := json.Unmarshal(args, &request.values); err != nil {
		return nil, fmt.Errorf("the arguments are no JSON object: %w", err)
	}
	return request, nil
}

// Body returns the body's bytes; nil where it was a JSON object or a form, whose parts are values.
func (r *Request) Body() ([]byte, error) {
	body, ok := r.text("_body")
	if !ok {
		return nil, nil
	}
	if encoding, _ := r.text("_body_encoding"); encoding == "base64" {
		return base64.StdEncoding.DecodeString(body)
	}
	return []byte(body), nil
}

// ContentType is the type of such a body, as the client names it.
func (r *Request) ContentType() string {
	text, _ := r.text("_content_type")
	return text
}

// Files returns the files of a form.
func (r *Request) Files() ([]UploadedFile, error) {
	raw, ok := r.values["_files"]
	if !ok {
		return nil, nil
	}
	var files []UploadedFile
	err := json.Unmarshal(raw, &files)
	return files, err
}

// Method is the request's method.
func (r *Request) Method() string { text, _ := r.text("_method"); return text }

// Path is the request's path.
func (r *Request) Path() string { text, _ := r.text("_path"); return text }

// ClientIP is the client's address, "" if it is not known.
func (r *Request) ClientIP() string { text, _ := r.text("_client_ip"); return text }

// UserLogin is the login of whoever asks, "" for nobody who is known.
func (r *Request) UserLogin() string { text, _ := r.text("_user_login"); return text }

// Has says whether there is a value of that name.
func (r *Request) Has(name string) bool { _, ok := r.values[name]; return ok }

// String returns a value that is text; numbers and truth values as they are written. "" if there is none.
func (r *Request) String(name string) string {
	if text, ok := r.text(name); ok {
		return text
	}
	raw := string(r.values[name])
	if raw == "null" || strings.HasPrefix(raw, "[") || strings.HasPrefix(raw, "{") {
		return ""
	}
	return raw
}

// Strings returns all values of a name: of a query or a form there may be one or several.
func (r *Request) Strings(name string) []string {
	var several []string
	if json.Unmarshal(r.values[name], &several) == nil {
		return several
	}
	if !r.Has(name) {
		return nil
	}
	return []string{r.String(name)}
}

// Int returns a whole number, of JSON or of text.
func (r *Request) Int(name string) (int64, error) {
	return parsed(r, name, func(text string) (int64, error) { return strconv.ParseInt(text, 10, 64) })
}

// Float returns a number, of JSON or of text.
func (r *Request) Float(name string) (float64, error) {
	return parsed(r, name, func(text string) (float64, error) { return strconv.ParseFloat(text, 64) })
}

// Bool returns a truth value: of JSON, or of the texts true, false, 1, 0, on, off, yes and no.
func (r *Request) Bool(name string) (bool, error) { return parsed(r, name, parseBool) }

// Decode reads all values into dest, a pointer to a struct, as [DecodeArgs] does.
func (r *Request) Decode(dest any) error {
	args, err := json.Marshal(r.values)
	if err != nil {
		return err
	}
	return DecodeArgs(args, dest)
}

func (r *Request) text(name string) (string, bool) {
	var text string
	raw, ok := r.values[name]
	if !ok || len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	err := json.Unmarshal(raw, &text)
	return text, err == nil
}

func parsed[T any](r *Request, name string, parse func(string) (T, error)) (T, error) {
	var none T
	if !r.Has(name) {
		return none, fmt.Errorf("%s is missing", name)
	}
	value, err := parse(strings.TrimSpace(r.String(name)))
	if err != nil {
		return none, fmt.Errorf("%s: %w", name, err)
	}
	return value, nil
}

func parseBool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "true", "1", "on", "yes":
		return true, nil
	case "false", "0", "off", "no":
		return false, nil
	}
	return false, fmt.Errorf("%q is no truth value", text)
}

// DecodeArgs reads the arguments of a function into dest, a pointer to a struct, by the rules of encoding/json, and
// takes text for what a field wants: what comes from a path, a query or a form is text. A number, a truth value and a
// slice of one are made of it, and nothing of an empty one where the field is a pointer.
func DecodeArgs(args json.RawMessage, dest any) error {
	target := reflect.ValueOf(dest)
	if target.Kind() != reflect.Pointer || target.IsNil() || target.Elem().Kind() != reflect.Struct {
		return errors.New("DecodeArgs wants a pointer to a struct")
	}
	values := map[string]json.RawMessage{}
	if len(args) > 0 {
		if err := json.Unmarshal(args, &values); err != nil {
			return fmt.Errorf("the arguments are no JSON object: %w", err)
		}
	}
	coerceFields(values, target.Elem().Type())
	coerced, err := json.Marshal(values)
	if err != nil {
		return err
	}
	return json.Unmarshal(coerced, dest)
}

func coerceFields(values map[string]json.RawMessage, of reflect.Type) {
	for at := range of.NumField() {
		field := of.Field(at)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.Anonymous && name == "" {
			embedded := field.Type
			if embedded.Kind() == reflect.Pointer {
				embedded = embedded.Elem()
			}
			if embedded.Kind() == reflect.Struct {
				coerceFields(values, embedded)
			}
			continue
		}
		if name == "-" || !field.IsExported() {
			continue
		}
		if name == "" {
			name = field.Name
		}
		for key, raw := range values {
			// As encoding/json finds a field.
			if strings.EqualFold(key, name) {
				values[key] = coerce(raw, field.Type)
			}
		}
	}
}

// coerce makes of JSON what a type wants; what cannot be made stays, and is an error of the decoder's.
func coerce(raw json.RawMessage, to reflect.Type) json.RawMessage {
	if to.Kind() == reflect.Pointer {
		if string(raw) == `""` && to.Elem().Kind() != reflect.String {
			return json.RawMessage("null")
		}
		return coerce(raw, to.Elem())
	}
	if reflect.PointerTo(to).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return raw
	}
	var text string
	isText := json.Unmarshal(raw, &text) == nil && len(raw) > 0 && raw[0] == '"'
	trimmed := strings.TrimSpace(text)
	switch to.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if number, err := strconv.ParseInt(trimmed, 10, 64); isText && err == nil {
			return json.RawMessage(strconv.FormatInt(number, 10))
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if number, err := strconv.ParseUint(trimmed, 10, 64); isText && err == nil {
			return json.RawMessage(strconv.FormatUint(number, 10))
		}
	case reflect.Float32, reflect.Float64:
		if number, err := strconv.ParseFloat(trimmed, 64); isText && err == nil {
			if coerced, err := json.Marshal(number); err == nil {
				return coerced
			}
		}
	case reflect.Bool:
		if is, err := parseBool(trimmed); isText && err == nil {
			return json.RawMessage(strconv.FormatBool(is))
		}
	case reflect.Slice:
		var items []json.RawMessage
		if isText && to.Elem().Kind() != reflect.Uint8 {
			items = []json.RawMessage{raw}
		} else if json.Unmarshal(raw, &items) != nil || items == nil {
			return raw
		}
		for at := range items {
			items[at] = coerce(items[at], to.Elem())
		}
		if coerced, err := json.Marshal(items); err == nil {
			return coerced
		}
	}
	return raw
}
