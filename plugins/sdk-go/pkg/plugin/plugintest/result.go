package plugintest

import (
	"encoding/json"
	"net/http"
)

// Result is the JSON that a function of the plugin returned.
type Result json.RawMessage

// String is the JSON.
func (r Result) String() string { return string(r) }

// MarshalJSON is the JSON as it is; that of a function which returned nothing is null.
func (r Result) MarshalJSON() ([]byte, error) {
	if len(r) == 0 {
		return []byte("null"), nil
	}
	return r, nil
}

// Decode reads the result into dest, a pointer, by the rules of encoding/json.
func (r Result) Decode(dest any) error { return json.Unmarshal(r, dest) }

// HTML is the member html of the result, as of a widget or a page; "" where there is none.
func (r Result) HTML() string {
	var page struct {
		HTML string `json:"html"`
	}
	_ = json.Unmarshal(r, &page)
	return page.HTML
}

// Status is the status that a host answers a request with whose function returned this: that of _status, of an error
// ({"error": "…", "status": 404}, 500 without) or of a redirect ({"redirect": "/there"}, 303 without), else 200. It is 502
// where a host cannot send the result.
func (r Result) Status() int {
	var shape struct {
		Own      json.RawMessage `json:"_status"`
		Status   json.RawMessage `json:"status"`
		Error    json.RawMessage `json:"error"`
		Redirect json.RawMessage `json:"redirect"`
	}
	if json.Unmarshal(r, &shape) != nil {
		return http.StatusOK
	}
	if shape.Own != nil {
		if status, ok := status(shape.Own, 200); ok {
			return status
		}
		return http.StatusBadGateway
	}
	if text, ok := textOf(shape.Error); ok && text != "" {
		if status, ok := status(shape.Status, 400); ok {
			return status
		}
		return http.StatusInternalServerError
	}
	if _, ok := textOf(shape.Redirect); ok {
		switch status, _ := status(shape.Status, 300); status {
		case 301, 302, 303, 307, 308:
			return status
		}
		return http.StatusSeeOther
	}
	return http.StatusOK
}

func status(raw json.RawMessage, least int) (int, bool) {
	var status int
	if json.Unmarshal(raw, &status) != nil || status < least || status > 599 {
		return 0, false
	}
	return status, true
}

func textOf(raw json.RawMessage) (string, bool) {
	var text *string
	if len(raw) == 0 || json.Unmarshal(raw, &text) != nil || text == nil {
		return "", false
	}
	return *text, true
}
