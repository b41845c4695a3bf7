// Package behave holds the functions that all reference plugins have.
package behave

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"sync"
	"time"

	hclog "github.com/hashicorp/go-hclog"
)

// logger is made before go-plugin replaces os.Stderr: its lines reach the host on the process's own stderr.
var logger = hclog.New(&hclog.LoggerOptions{Name: "reference", Level: hclog.Trace, Output: os.Stderr, JSONFormat: true})

// churn has 48 MB that live and makes far more garbage than any limit here allows.
func churn() ([]byte, error) {
	live := make([][]byte, 48)
	for i := range live {
		live[i] = bytes.Repeat([]byte{1}, 1<<20)
	}
	sum := 0
	for i := range 2000 {
		garbage := bytes.Repeat([]byte{byte(i)}, 1<<20)
		sum += int(garbage[i]) + int(live[i%len(live)][i])
	}
	return json.Marshal(map[string]int{"sum": sum})
}

// Version is what "version" answers. Tests make further versions of a program by writing over these characters in it.
var Version = "GK_TEST_VERSION_000000"

// Call runs one of the functions.
func Call(fn string, args []byte, config map[string]string) ([]byte, error) {
	switch fn {
	case "get_status":
		return []byte(`{"status":"running","version":"1.0.0"}`), nil
	case "render_widget":
		return []byte(`{"html":"<p>reference</p>"}`), nil
	case "echo":
		return args, nil
	case "fail":
		return nil, errors.New("this function always fails")
	case "sleep":
		var request struct {
			MS int `json:"ms"`
		}
		if err := json.Unmarshal(args, &request); err != nil {
			return nil, err
		}
		time.Sleep(time.Duration(request.MS) * time.Millisecond)
		return args, nil
	case "churn":
		return churn()
	case "crash":
		fmt.Fprintln(os.Stderr, "about to crash")
		os.Exit(3)
	case "panic":
		panic("a handler panicked")
	case "print":
		fmt.Println("a line on stdout")
		fmt.Fprintln(os.Stderr, "a line on stderr")
		log.Print("[WARN] a line of the log package")
		logger.Info("a structured line", "answer", 42)
		return []byte("null"), nil
	case "version":
		return json.Marshal(Version)
	case "config":
		return json.Marshal(config)
	case "large":
		return large(args)
	}
	return nil, fmt.Errorf("unknown function: %s", fn)
}

// made holds what large has made: many callers are to cost the host memory, not the plugin.
var made sync.Map

// large answers {"mb": n} with an array of so many mebibytes, as a page of markup where "shaped" is given.
func large(args []byte) ([]byte, error) {
	var request struct {
		MB     json.Number `json:"mb"`
		Shaped string      `json:"shaped"`
	}
	if err := json.Unmarshal(args, &request); err != nil {
		return nil, err
	}
	mb, err := request.MB.Int64()
	if err != nil {
		return nil, err
	}
	head := `{"a":[`
	if request.Shaped != "" {
		head = `{"html":"x","raw":true,"a":[`
	}
	key := fmt.Sprint(head, mb)
	if made, ok := made.Load(key); ok {
		return made.([]byte), nil
	}
	result := []byte(head + strings.Repeat("0,", int(mb)<<19) + "0]}")
	made.Store(key, result)
	return result, nil
}
