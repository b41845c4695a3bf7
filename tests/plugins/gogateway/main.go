// gogateway serves one route of a plugin with net/http and HashiCorp's go-plugin, as the gateway of gk-host does.
//
//	GOGATEWAY_TOKEN=SECRET gogateway -plugin PATH -route PATH -function NAME [-listen ADDRESS]
//
// It prints "listening on http://ADDRESS" once the plugin is initialised, and ends with SIGTERM, SIGINT or SIGHUP. A
// request needs the token as its bearer token. The function gets the query's values and the envelope that gk-host
// gives to the same route; its result is the body.
package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"example.org/goatkit/testplugins/internal/host"
)

func main() {
	path := flag.String("plugin", "", "plugin executable")
	route := flag.String("route", "", "path of the route")
	function := flag.String("function", "get_status", "the plugin's function behind it")
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on")
	flag.Parse()
	log.SetOutput(io.Discard)
	if err := serve(*path, *route, *function, *listen, os.Getenv("GOGATEWAY_TOKEN")); err != nil {
		fmt.Fprintln(os.Stderr, "gogateway:", err)
		os.Exit(1)
	}
}

func serve(path, route, function, listen, token string) error {
	if path == "" || route == "" || token == "" {
		return errors.New("usage: GOGATEWAY_TOKEN=SECRET gogateway -plugin PATH -route PATH; see gogateway -h")
	}
	ended, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	p, err := host.Start(path, io.Discard, io.Discard)
	if err != nil {
		return err
	}
	defer func() { _ = p.Shutdown(); p.Kill() }()
	if _, _, err := p.Register(); err != nil {
		return fmt.Errorf("GKRegister: %w", err)
	}
	if err := p.Init(map[string]string{"plugin_name": "bench"}, nothing{}); err != nil {
		return fmt.Errorf("Init: %w", err)
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+route, &gateway{plugin: p, function: function, token: sha256.Sum256([]byte(token))})
	server := &http.Server{Handler: mux}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	fmt.Printf("listening on http://%s\n", listener.Addr())
	select {
	case err := <-failed:
		return err
	case <-ended.Done():
		return server.Close()
	}
}

// nothing is a host API without methods that matter: the plugin dials it in Init.
type nothing struct{}

func (nothing) Call(request host.HostAPIRequest, reply *host.HostAPIResponse) error {
	reply.Error = "unknown host API method: " + request.Method
	return nil
}

type gateway struct {
	plugin   *host.Plugin
	function string
	token    [sha256.Size]byte
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := requestID()
	headers := w.Header()
	headers.Set("X-Request-Id", id)
	headers.Set("X-Content-Type-Options", "nosniff")
	token, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	given := sha256.Sum256([]byte(token))
	if !found || subtle.ConstantTimeCompare(given[:], g.token[:]) != 1 {
		answer(w, http.StatusUnauthorized, []byte(`{"error":"a valid bearer token is needed"}`))
		return
	}
	args, err := arguments(r, id)
	if err != nil {
		answer(w, http.StatusBadRequest, []byte(`{"error":"the request cannot be passed on"}`))
		return
	}
	// A token for each call, by which a plugin's requests to the host would be told apart.
	result, err := g.plugin.Call(g.function, args, requestID())
	if err != nil {
		answer(w, http.StatusBadGateway, []byte(`{"error":"the plugin failed"}`))
		return
	}
	answer(w, http.StatusOK, result)
}

// arguments is what the function is told of a request: the query's values, and the envelope over them.
func arguments(r *http.Request, id string) ([]byte, error) {
	args := make(map[string]any, 12)
	if r.URL.RawQuery != "" {
		for name, values := range r.URL.Query() {
			if strings.HasPrefix(name, "_") {
				continue
			}
			if len(values) == 1 {
				args[name] = values[0]
			} else {
				args[name] = values
			}
		}
	}
	client, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return nil, err
	}
	args["_method"] = r.Method
	args["_path"] = r.URL.Path
	args["_lang"] = "en"
	args["_request_id"] = id
	args["_client_ip"] = client
	args["_is_admin"] = true
	args["_user_id"] = 1
	args["_user_login"] = "admin"
	args["_user_role"] = "Admin"
	return json.Marshal(args)
}

func answer(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func requestID() string {
	var random [16]byte
	_, _ = rand.Read(random[:])
	return hex.EncodeToString(random[:])
}
