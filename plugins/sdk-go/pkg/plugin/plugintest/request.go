package plugintest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/textproto"
	"net/url"
	"strings"
	"unicode/utf8"
)

// User is who asks.
type User struct {
	// ID is the number, _user_id of the arguments.
	ID int64
	// Login is the login, _user_login of the arguments; one with an @ is also the address of mails.
	Login string
	// Role is Admin, Agent or Customer.
	Role string
}

// Users to ask as: one of each role.
var (
	Admin    = User{ID: 1, Login: "admin@example.com", Role: "Admin"}
	Agent    = User{ID: 2, Login: "agent@example.com", Role: "Agent"}
	Customer = User{ID: 3, Login: "customer@example.com", Role: "Customer"}
)

// RequestOption says what a request of [Plugin.Route] or [Plugin.Widget] is like.
type RequestOption func(*request)

type request struct {
	ctx       context.Context
	query     url.Values
	user      *User
	language  string
	clientIP  string
	requestID string

	traceParent, traceState string

	contentType string
	body        []byte
	form        url.Values
	uploads     []upload
	// err is why the request cannot be made.
	err error
}

type upload struct {
	field, filename, contentType string
	data                         []byte
}

func newRequest(opts []RequestOption) *request {
	r := &request{
		ctx:       context.Background(),
		query:     url.Values{},
		language:  "en",
		clientIP:  "192.0.2.1",
		requestID: "plugintest",
	}
	for _, option := range opts {
		option(r)
	}
	return r
}

// Query adds values of one name to the query. The path may have a query, too.
func Query(name string, values ...string) RequestOption {
	return func(r *request) { r.query[name] = append(r.query[name], values...) }
}

// JSON sends a value as JSON, a json.RawMessage as it is.
func JSON(value any) RequestOption {
	return func(r *request) {
		encoded, err := marshal(value)
		if err != nil {
			r.err = err
		}
		r.contentType, r.body = "application/json", encoded
	}
}

// Body sends any body: what a host makes of it depends on the content type, as with a real one.
func Body(contentType string, body []byte) RequestOption {
	return func(r *request) { r.contentType, r.body = contentType, body }
}

// Form sends fields of a form; with [Upload] of a form that has files.
func Form(fields url.Values) RequestOption {
	return func(r *request) { r.form = fields }
}

// Upload sends a file of a form. Several make a form with several files.
func Upload(field, filename, contentType string, data []byte) RequestOption {
	return func(r *request) {
		r.uploads = append(r.uploads, upload{field, filename, contentType, data})
	}
}

// AsUser makes a user ask, such as [Agent]. Without it nobody is known.
func AsUser(user User) RequestOption {
	return func(r *request) { r.user = &user }
}

// Language is what the client reads, such as "de"; English without it.
func Language(tag string) RequestOption {
	return func(r *request) { r.language = tag }
}

// ClientIP is the client's address; without it 192.0.2.1.
func ClientIP(address string) RequestOption {
	return func(r *request) { r.clientIP = address }
}

// RequestID is what the request is called in the logs; without it "plugintest".
func RequestID(id string) RequestOption {
	return func(r *request) { r.requestID = id }
}

// Trace is the place of the call in a trace: what [plugin.TraceParent] and [plugin.TraceState] return; without a state it is
// "". Without Trace the call belongs to no trace.
func Trace(traceParent, traceState string) RequestOption {
	return func(r *request) { r.traceParent, r.traceState = traceParent, traceState }
}

// WithContext is the context of the call, as the one that [Plugin.Call] takes.
func WithContext(ctx context.Context) RequestOption {
	return func(r *request) { r.ctx = ctx }
}

// encode makes one body of what forms the options gave.
func (r *request) encode() error {
	switch {
	case r.err != nil:
		return r.err
	case len(r.uploads) > 0:
		var body bytes.Buffer
		writer := multipart.NewWriter(&body)
		for name, values := range r.form {
			for _, value := range values {
				if err := writer.WriteField(name, value); err != nil {
					return err
				}
			}
		}
		for _, upload := range r.uploads {
			header := textproto.MIMEHeader{}
			header.Set("Content-Disposition", mime.FormatMediaType("form-data", map[string]string{"name": upload.field, "filename": upload.filename}))
			if upload.contentType != "" {
				header.Set("Content-Type", upload.contentType)
			}
			part, err := writer.CreatePart(header)
			if err != nil {
				return err
			}
			if _, err := part.Write(upload.data); err != nil {
				return err
			}
		}
		if err := writer.Close(); err != nil {
			return err
		}
		r.contentType, r.body = writer.FormDataContentType(), body.Bytes()
	case r.form != nil:
		r.contentType, r.body = "application/x-www-form-urlencoded", []byte(r.form.Encode())
	}
	return nil
}

// arguments builds what a host gives to the function of a route.
func (r *request) arguments(method, path string, params map[string]string, skipOrg bool) (json.RawMessage, error) {
	args := map[string]json.RawMessage{}
	addTexts(args, r.query)
	rest, err := r.addBody(args)
	if err != nil {
		return nil, err
	}
	dropHosts(args)
	for name := range args {
		if strings.EqualFold(name, "org_id") && !skipOrg {
			delete(args, name)
			continue
		}
		for param := range params {
			if strings.EqualFold(name, param) {
				delete(args, name)
			}
		}
	}
	envelope := userEnvelope(r.user)
	envelope["_method"], envelope["_path"], envelope["_lang"] = method, path, r.language
	envelope["_request_id"] = r.requestID
	if r.clientIP != "" {
		envelope["_client_ip"] = r.clientIP
	}
	for name, value := range params {
		envelope[name] = value
	}
	for name, value := range rest {
		envelope[name] = value
	}
	return withEnvelope(args, envelope)
}

// userEnvelope is what a plugin is told of a user.
func userEnvelope(user *User) map[string]any {
	if user == nil {
		return map[string]any{"_is_admin": false}
	}
	envelope := map[string]any{
		"_is_admin":   user.Role == "Admin",
		"_user_id":    user.ID,
		"_user_login": user.Login,
		"_user_role":  user.Role,
	}
	if strings.Contains(user.Login, "@") {
		envelope["_user_email"] = user.Login
	}
	if user.Role == "Customer" {
		envelope["_customer_login"] = user.Login
	}
	return envelope
}

// dropHosts removes what only the host says.
func dropHosts(args map[string]json.RawMessage) {
	for name := range args {
		if strings.HasPrefix(name, "_") {
			delete(args, name)
		}
	}
}

func withEnvelope(args map[string]json.RawMessage, envelope map[string]any) (json.RawMessage, error) {
	for name, value := range envelope {
		encoded, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		args[name] = encoded
	}
	return json.Marshal(args)
}

// addBody adds the body's own values, and returns what the host says of a body that has none.
func (r *request) addBody(args map[string]json.RawMessage) (map[string]any, error) {
	if len(r.body) == 0 {
		return nil, nil
	}
	mediaType, _, _ := strings.Cut(strings.ToLower(r.contentType), ";")
	mediaType = strings.TrimSpace(mediaType)
	isObject := bytes.HasPrefix(bytes.TrimLeft(r.body, " \t\r\n"), []byte("{"))
	switch {
	case mediaType == "application/json" || strings.HasSuffix(mediaType, "+json"):
		if !json.Valid(r.body) {
			return nil, &RouteError{Status: 400, Text: "the body is not valid JSON"}
		}
		if isObject {
			return nil, json.Unmarshal(r.body, &args)
		}
		return map[string]any{"_body": string(r.body), "_content_type": r.contentType}, nil
	case mediaType == "application/x-www-form-urlencoded":
		if isObject && json.Valid(r.body) {
			return nil, json.Unmarshal(r.body, &args)
		}
		fields, err := url.ParseQuery(string(r.body))
		if err != nil {
			return nil, &RouteError{Status: 400, Text: fmt.Sprintf("the form cannot be read: %v", err)}
		}
		addTexts(args, fields)
		return nil, nil
	case mediaType == "multipart/form-data":
		return r.addMultipart(args)
	}
	rest := map[string]any{"_content_type": r.contentType}
	if utf8.Valid(r.body) {
		rest["_body"] = string(r.body)
	} else {
		rest["_body"], rest["_body_encoding"] = base64.StdEncoding.EncodeToString(r.body), "base64"
	}
	return rest, nil
}

// uploaded is a file of a form as the host writes it.
type uploaded struct {
	Name        string `json:"name"`
	Filename    string `json:"filename"`
	ContentType string `json:"content_type"`
	Size        int    `json:"size"`
	Data        []byte `json:"data"`
}

func (r *request) addMultipart(args map[string]json.RawMessage) (map[string]any, error) {
	wrong := func(err error) error {
		return &RouteError{Status: 400, Text: fmt.Sprintf("the multipart body cannot be read: %v", err)}
	}
	_, params, err := mime.ParseMediaType(r.contentType)
	if err != nil {
		return nil, wrong(err)
	}
	reader := multipart.NewReader(bytes.NewReader(r.body), params["boundary"])
	fields, files := url.Values{}, []uploaded{}
	for {
		part, err := reader.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, wrong(err)
		}
		data, err := io.ReadAll(part)
		if err != nil {
			return nil, wrong(err)
		}
		_, disposition, _ := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
		filename, isFile := disposition["filename"]
		if !isFile && utf8.Valid(data) {
			fields.Add(part.FormName(), string(data))
			continue
		}
		contentType := part.Header.Get("Content-Type")
		if contentType == "" {
			contentType = "application/octet-stream"
		}
		if data == nil {
			data = []byte{}
		}
		files = append(files, uploaded{part.FormName(), filename, contentType, len(data), data})
	}
	addTexts(args, fields)
	return map[string]any{"_files": files}, nil
}

// addTexts adds values of a query or a form: one is a text, several are a list.
func addTexts(args map[string]json.RawMessage, values url.Values) {
	for name, texts := range values {
		// Texts can always be written.
		encoded, _ := json.Marshal(texts)
		if len(texts) == 1 {
			encoded, _ = json.Marshal(texts[0])
		}
		args[name] = encoded
	}
}
