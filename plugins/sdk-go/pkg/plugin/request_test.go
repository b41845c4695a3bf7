package plugin

import (
	"encoding/json"
	"reflect"
	"testing"
)

func request(t *testing.T, args string) *Request {
	t.Helper()
	parsed, err := ParseRequest(json.RawMessage(args))
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestBodiesAreBytes(t *testing.T) {
	for args, want := range map[string]string{
		`{"_body":"/wA=","_body_encoding":"base64"}`: "\xff\x00",
		`{"_body":"/wA="}`:                           "/wA=",
		`{"a":1}`:                                    "",
		``:                                           "",
	} {
		body, err := request(t, args).Body()
		if err != nil || string(body) != want {
			t.Errorf("%s: %q, %v", args, body, err)
		}
	}
	if _, err := request(t, `{"_body":"?","_body_encoding":"base64"}`).Body(); err == nil {
		t.Error("no base64, and no error")
	}
	if _, err := ParseRequest(json.RawMessage(`[1]`)); err == nil {
		t.Error("no object, and no error")
	}
}

func TestFilesAndValues(t *testing.T) {
	form := request(t, `{"id":"5","n":7,"on":"on","x":"1.5","tag":"a","tags":["a","b"],"_client_ip":"192.0.2.1","_method":"POST",
		"_files":[{"name":"f","filename":"a.bin","content_type":"x/y","size":2,"data":"/wA="}]}`)
	files, err := form.Files()
	if err != nil || len(files) != 1 || string(files[0].Data) != "\xff\x00" || files[0].Filename != "a.bin" {
		t.Errorf("%v, %v", files, err)
	}
	if id, err := form.Int("id"); err != nil || id != 5 {
		t.Errorf("%d, %v", id, err)
	}
	if n, err := form.Int("n"); err != nil || n != 7 {
		t.Errorf("%d, %v", n, err)
	}
	if on, err := form.Bool("on"); err != nil || !on {
		t.Errorf("%t, %v", on, err)
	}
	if x, err := form.Float("x"); err != nil || x != 1.5 {
		t.Errorf("%f, %v", x, err)
	}
	for _, name := range []string{"none", "tag"} {
		if _, err := form.Int(name); err == nil {
			t.Errorf("%s is no number", name)
		}
	}
	if one, two := form.Strings("tag"), form.Strings("tags"); !reflect.DeepEqual(one, []string{"a"}) || !reflect.DeepEqual(two, []string{"a", "b"}) {
		t.Errorf("%v, %v", one, two)
	}
	if form.ClientIP() != "192.0.2.1" || form.Method() != "POST" || form.UserLogin() != "" {
		t.Error("the envelope")
	}
}

func TestDecodeArgsTakesText(t *testing.T) {
	type page struct {
		Limit uint8 `json:"limit"`
	}
	type args struct {
		page
		ID    int64    `json:"id"`
		Ratio float32  `json:"ratio"`
		On    bool     `json:"on"`
		Maybe *int     `json:"maybe"`
		Given *int     `json:"given"`
		Note  *string  `json:"note"`
		List  []int    `json:"list"`
		One   []string `json:"one"`
		Text  string
		Raw   []byte `json:"raw"`
	}
	var got args
	err := DecodeArgs(json.RawMessage(`{"limit":"10","id":"-7","ratio":"1.5","on":"yes","maybe":"","given":"3","note":"",
		"list":["1","2"],"one":"a","text":"12","raw":"/wA=","_method":"GET"}`), &got)
	if err != nil {
		t.Fatal(err)
	}
	three, empty := 3, ""
	want := args{page: page{10}, ID: -7, Ratio: 1.5, On: true, Given: &three, Note: &empty, List: []int{1, 2}, One: []string{"a"}, Text: "12", Raw: []byte{0xff, 0}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	for _, wrong := range []string{`{"id":"x"}`, `{"id":""}`, `{"limit":"256"}`, `{"on":"maybe"}`, `[]`} {
		if err := DecodeArgs(json.RawMessage(wrong), new(args)); err == nil {
			t.Errorf("%s is read", wrong)
		}
	}
	if DecodeArgs(nil, got) == nil {
		t.Error("no pointer, and no error")
	}
}
