package plugintest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"

	"github.com/goatkit/goatflow/pkg/plugin"
)

// OnHTTP answers requests of HTTPRequest and HTTPDo with a method and a URL. A method of "" is GET.
func (h *Host) OnHTTP(method, url string, response plugin.HTTPResponse) {
	if method == "" {
		method = http.MethodGet
	}
	if response.Status == 0 {
		response.Status = http.StatusOK
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.responses[strings.ToUpper(method)+" "+url] = response
}

// HTTPHandler answers requests of HTTPRequest and HTTPDo that [Host.OnHTTP] does not, whatever server they are for:
// r.Host and r.URL say which. Redirects are followed as a host does, at most 10. The handler may be called concurrently.
func (h *Host) HTTPHandler(handler http.Handler) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.handler = handler
}

func (h *Host) httpRequest(_ running, args json.RawMessage) (any, error) {
	wanted, err := read[struct {
		Method  string            `json:"method"`
		URL     string            `json:"url"`
		Headers map[string]string `json:"headers"`
		Body    []byte            `json:"body"`
	}](args)
	if err != nil {
		return nil, err
	}
	if wanted.Method == "" {
		wanted.Method = http.MethodGet
	}
	target, err := url.Parse(wanted.URL)
	if err != nil || (target.Scheme != "http" && target.Scheme != "https") || target.Host == "" {
		return nil, fmt.Errorf("invalid URL: %q", wanted.URL)
	}
	if target.User != nil {
		return nil, errors.New("invalid URL: it holds a user or a password")
	}
	h.mu.Lock()
	response, ok := h.responses[strings.ToUpper(wanted.Method)+" "+wanted.URL]
	handler := h.handler
	h.mu.Unlock()
	if ok {
		return responseOf(response.Status, response.Headers, response.Body), nil
	}
	if handler == nil {
		return nil, fmt.Errorf("plugintest: no answer to %s %s; set one up with Host.OnHTTP or Host.HTTPHandler", wanted.Method, wanted.URL)
	}
	request, err := http.NewRequest(wanted.Method, wanted.URL, strings.NewReader(string(wanted.Body)))
	if err != nil {
		return nil, err
	}
	for name, value := range wanted.Headers {
		request.Header.Set(name, value)
	}
	client := http.Client{Transport: transport{handler}}
	answer, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	return responseOf(answer.StatusCode, answer.Header, body), nil
}

// responseOf is a response as the host writes it: headers by lower-case name.
func responseOf(status int, headers map[string][]string, body []byte) map[string]any {
	lower := map[string][]string{}
	for name, values := range headers {
		lower[strings.ToLower(name)] = values
	}
	if body == nil {
		body = []byte{}
	}
	return map[string]any{"status": status, "headers": lower, "body": body}
}

// transport lets a handler be every server.
type transport struct{ handler http.Handler }

// RoundTrip is of the interface http.RoundTripper.
func (t transport) RoundTrip(request *http.Request) (*http.Response, error) {
	recorder := httptest.NewRecorder()
	// What a server sees of a request: who it is for, and never a nil body.
	served := request.Clone(request.Context())
	served.Host = request.URL.Host
	served.RequestURI = request.URL.RequestURI()
	if served.Body == nil {
		served.Body = http.NoBody
	}
	t.handler.ServeHTTP(recorder, served)
	response := recorder.Result()
	response.Request = request
	return response, nil
}

// OnPluginCall answers CallPlugin of a function of another plugin. The result is sent as JSON, a json.RawMessage as it
// is; the text of an error is what the caller gets as [plugin.HostError].
//
// Of an object among the arguments, keys with a leading underscore are the host's, as with a real host: what is known of
// the user of the running call.
func (h *Host) OnPluginCall(pluginName, fn string, answer func(args json.RawMessage) (any, error)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.others[pluginName+" "+fn] = answer
}

func (h *Host) pluginCall(call running, args json.RawMessage) (any, error) {
	wanted, err := read[struct {
		Plugin   string          `json:"plugin"`
		Function string          `json:"function"`
		Args     json.RawMessage `json:"args"`
	}](args)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	answer := h.others[wanted.Plugin+" "+wanted.Function]
	h.mu.Unlock()
	if answer == nil {
		return nil, fmt.Errorf("plugintest: no answer to the call of %q of plugin %q; set one up with Host.OnPluginCall", wanted.Function, wanted.Plugin)
	}
	members := map[string]json.RawMessage{}
	if strings.HasPrefix(string(wanted.Args), "{") && json.Unmarshal(wanted.Args, &members) == nil {
		dropHosts(members)
		envelope := userEnvelope(call.user)
		if call.language != "" {
			envelope["_lang"] = call.language
		}
		if call.requestID != "" {
			envelope["_request_id"] = call.requestID
		}
		if wanted.Args, err = withEnvelope(members, envelope); err != nil {
			return nil, err
		}
	}
	return answer(wanted.Args)
}
