// golden encodes the values of a file of gob vectors again, with this Go's own encoder, and compares the bytes.
//
//	golden -check FILE     every vector of kind "encode" whose types are known here
//	golden -encode NAME FILE  one vector, as hex, one line per Encode; for golden itself: type ids are global to a
//	                          process, so each vector is encoded in a fresh one
package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"reflect"
	"strconv"
	"strings"
)

type vector struct {
	Name   string          `json:"name"`
	Kind   string          `json:"kind"`
	GoType json.RawMessage `json:"go_type"`
	Value  json.RawMessage `json:"value"`
	Hex    string          `json:"hex"`
	SHA256 string          `json:"hex_sha256"`
	Len    int             `json:"hex_len"`
}

// checkedMin guards against a file, or a registry of types, that checks next to nothing.
const checkedMin = 80

func main() {
	check := flag.String("check", "", "file of vectors")
	encode := flag.String("encode", "", "name of one vector; the file is the argument")
	flag.Parse()
	var err error
	switch {
	case *check != "":
		err = checkFile(*check)
	case *encode != "" && flag.NArg() == 1:
		err = encodeOne(*encode, flag.Arg(0))
	default:
		err = errors.New("usage: golden -check FILE")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "golden:", err)
		os.Exit(1)
	}
}

func read(file string) ([]vector, error) {
	opened, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	var vectors []vector
	scanner := bufio.NewScanner(opened)
	scanner.Buffer(nil, 64<<20)
	for scanner.Scan() {
		var v vector
		if err := json.Unmarshal(scanner.Bytes(), &v); err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", file, len(vectors)+1, err)
		}
		vectors = append(vectors, v)
	}
	return vectors, scanner.Err()
}

func checkFile(file string) error {
	vectors, err := read(file)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	checked, skipped, wrong := 0, []string{}, 0
	for _, v := range vectors {
		if v.Kind != "encode" {
			continue
		}
		if _, err := v.types(); err != nil {
			skipped = append(skipped, v.Name)
			continue
		}
		output, err := exec.Command(self, "-encode", v.Name, file).Output()
		if err != nil {
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				return fmt.Errorf("%s: %w: %s", v.Name, err, exit.Stderr)
			}
			return err
		}
		checked++
		if !v.matches(strings.TrimSpace(string(output))) {
			wrong++
			fmt.Fprintf(os.Stderr, "%s: this Go encodes it differently\n  file %.120s\n  now  %.120s\n", v.Name, v.Hex, output)
		}
	}
	fmt.Printf("%d vectors encoded again, %d differ, %d of types not known here: %s\n", checked, wrong, len(skipped), strings.Join(skipped, " "))
	if wrong > 0 {
		return fmt.Errorf("%d vectors differ from what Go encodes", wrong)
	}
	if checked < checkedMin {
		return fmt.Errorf("only %d vectors were checked; at least %d should be", checked, checkedMin)
	}
	return nil
}

func (v *vector) matches(got string) bool {
	if v.Hex != "" {
		return got == v.Hex
	}
	raw, err := hex.DecodeString(got)
	if err != nil || len(raw) != v.Len {
		return false
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]) == v.SHA256
}

func encodeOne(name, file string) error {
	vectors, err := read(file)
	if err != nil {
		return err
	}
	for _, v := range vectors {
		if v.Name == name {
			raw, err := v.encode()
			if err != nil {
				return err
			}
			fmt.Println(hex.EncodeToString(raw))
			return nil
		}
	}
	return fmt.Errorf("no vector %q in %s", name, file)
}

// types are the Go types of the values, in the order of the Encode calls.
func (v *vector) types() ([]reflect.Type, error) {
	names := []string{""}
	if err := json.Unmarshal(v.GoType, &names); err != nil {
		names = []string{""}
		if err := json.Unmarshal(v.GoType, &names[0]); err != nil {
			return nil, err
		}
	}
	types := make([]reflect.Type, len(names))
	for i, name := range names {
		known, found := registry[strings.TrimPrefix(name, "*")]
		if !found {
			return nil, fmt.Errorf("type %s is not known", name)
		}
		types[i] = known
		if strings.HasPrefix(name, "*") {
			types[i] = reflect.PointerTo(known)
		}
	}
	return types, nil
}

func (v *vector) encode() ([]byte, error) {
	types, err := v.types()
	if err != nil {
		return nil, err
	}
	images := []json.RawMessage{v.Value}
	if v.GoType[0] == '[' {
		if err := json.Unmarshal(v.Value, &images); err != nil {
			return nil, err
		}
	}
	if len(images) != len(types) {
		return nil, fmt.Errorf("%d values for %d types", len(images), len(types))
	}
	var buffer bytes.Buffer
	encoder := gob.NewEncoder(&buffer)
	for i, image := range images {
		value := reflect.New(types[i]).Elem()
		target := value
		if types[i].Kind() == reflect.Pointer {
			value.Set(reflect.New(types[i].Elem()))
			target = value.Elem()
		}
		if err := fill(target, image); err != nil {
			return nil, err
		}
		if err := encoder.EncodeValue(value); err != nil {
			return nil, err
		}
	}
	return buffer.Bytes(), nil
}

// fill sets target to the value whose JSON image is given; see the README of the vectors for the images.
func fill(target reflect.Value, image json.RawMessage) error {
	if string(image) == "null" {
		target.SetZero()
		return nil
	}
	var marked map[string]json.RawMessage
	if image[0] == '{' && json.Unmarshal(image, &marked) == nil {
		if done, err := special(target, marked); done || err != nil {
			return err
		}
	}
	switch target.Kind() {
	case reflect.Pointer:
		target.Set(reflect.New(target.Type().Elem()))
		return fill(target.Elem(), image)
	case reflect.Struct:
		for name, inner := range marked {
			field := target.FieldByName(name)
			if !field.IsValid() {
				return fmt.Errorf("%s has no field %s", target.Type(), name)
			}
			if err := fill(field, inner); err != nil {
				return err
			}
		}
		return nil
	case reflect.Interface:
		inner := reflect.New(dynamic(image)).Elem()
		if err := fill(inner, image); err != nil {
			return err
		}
		target.Set(inner)
		return nil
	case reflect.Slice:
		var images []json.RawMessage
		if err := json.Unmarshal(image, &images); err != nil {
			return err
		}
		target.Set(reflect.MakeSlice(target.Type(), len(images), len(images)))
		for i, inner := range images {
			if err := fill(target.Index(i), inner); err != nil {
				return err
			}
		}
		return nil
	case reflect.Map:
		target.Set(reflect.MakeMap(target.Type()))
		for key, inner := range marked {
			value := reflect.New(target.Type().Elem()).Elem()
			if err := fill(value, inner); err != nil {
				return err
			}
			target.SetMapIndex(reflect.ValueOf(key), value)
		}
		return nil
	}
	return json.Unmarshal(image, target.Addr().Interface())
}

// dynamic is the type of a value inside an interface.
func dynamic(image json.RawMessage) reflect.Type {
	switch image[0] {
	case '"':
		return registry["string"]
	case '[':
		return registry["[]string"]
	default:
		return registry["int"]
	}
}

// special sets target from an image that JSON itself cannot express.
func special(target reflect.Value, marked map[string]json.RawMessage) (bool, error) {
	var text *string
	switch {
	case marked["$bytes"] != nil:
		if err := json.Unmarshal(marked["$bytes"], &text); err != nil || text == nil {
			target.SetZero()
			return true, err
		}
		raw, err := base64.StdEncoding.DecodeString(*text)
		target.SetBytes(raw)
		return true, err
	case marked["$strbytes"] != nil:
		if err := json.Unmarshal(marked["$strbytes"], &text); err != nil {
			return true, err
		}
		raw, err := base64.StdEncoding.DecodeString(*text)
		target.SetString(string(raw))
		return true, err
	case marked["$f64bits"] != nil:
		if err := json.Unmarshal(marked["$f64bits"], &text); err != nil {
			return true, err
		}
		raw, err := hex.DecodeString(*text)
		if err != nil || len(raw) != 8 {
			return true, fmt.Errorf("%q is not 64 bits in hex", *text)
		}
		target.SetFloat(math.Float64frombits(binary.BigEndian.Uint64(raw)))
		return true, nil
	case marked["$sha256"] != nil:
		length, err := strconv.Atoi(string(marked["len"]))
		if err != nil {
			return true, err
		}
		payload := make([]byte, length)
		for i := range payload {
			payload[i] = byte(i % 251)
		}
		target.SetBytes(payload)
		return true, nil
	}
	return false, nil
}
