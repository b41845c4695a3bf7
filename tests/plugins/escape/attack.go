package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"example.org/goatkit/testplugins/internal/serve"
)

// params is what an attack needs to know of the outside. What is left out makes its attacks not applicable.
type params struct {
	// A process outside, at whose address is a text.
	HostPID     int    `json:"host_pid,omitempty"`
	HostAddress uint64 `json:"host_address,omitempty"`
	// The text that shows that an attack reached the outside: in that process, the file and what the sockets say.
	Secret string `json:"secret,omitempty"`
	// A file that only the host should read; and a directory outside that nobody here should write.
	SecretFile string `json:"secret_file,omitempty"`
	OutsideDir string `json:"outside_dir,omitempty"`
	// A file in the outside's /tmp: whoever sees it shares that directory.
	TmpMarker string `json:"tmp_marker,omitempty"`
	// The same in its /dev/shm.
	ShmMarker string `json:"shm_marker,omitempty"`
	// Where something listens outside.
	HostSocket     string `json:"host_socket,omitempty"`
	AbstractSocket string `json:"abstract_socket,omitempty"`
	TCP            string `json:"tcp,omitempty"`
	UDP            string `json:"udp,omitempty"`
	// The directory of another plugin.
	OtherPluginDir string `json:"other_plugin_dir,omitempty"`
	// The sizes of bombs; the zero values are those of defaults.
	Processes   int   `json:"processes,omitempty"`
	Threads     int   `json:"threads,omitempty"`
	Descriptors int   `json:"descriptors,omitempty"`
	Bytes       int64 `json:"bytes,omitempty"`
	Lines       int   `json:"lines,omitempty"`
	// For how many milliseconds a bomb keeps the memory it got.
	HeldMS int `json:"held_ms,omitempty"`
	// Whether pid 1 may get every signal there is. Not on a machine that is still needed.
	SignalInit bool `json:"signal_init,omitempty"`
	// Where a daemon leaves its files; by default TMPDIR.
	DaemonDir string `json:"daemon_dir,omitempty"`

	// What the host told this plugin.
	PluginDir string `json:"plugin_dir,omitempty"`
	WorkDir   string `json:"work_dir,omitempty"`
	call      *serve.Call
}

func (p *params) withDefaults() {
	for size, value := range map[*int]int{&p.Processes: 512, &p.Threads: 1024, &p.Descriptors: 4096, &p.Lines: 20_000} {
		if *size == 0 {
			*size = value
		}
	}
	if p.Bytes == 0 {
		p.Bytes = 512 << 20
	}
}

type outcome string

const (
	// opened: it got what it wanted, or the one step that would harm is all that is missing.
	opened outcome = "open"
	// blocked: it was refused.
	blocked outcome = "blocked"
	// contained: nothing refused it, and nobody outside has noticed, or a limit ended it.
	contained outcome = "contained"
	// notApplicable: there is nothing here that could be attacked, or a parameter is missing.
	notApplicable outcome = "not applicable"
)

// result is what came of an attack.
type result struct {
	ID      string  `json:"id"`
	Name    string  `json:"name"`
	Item    int     `json:"item"`
	Outcome outcome `json:"outcome"`
	Detail  string  `json:"detail"`
	Errno   string  `json:"errno,omitempty"`
}

// attack is one way to break out.
type attack struct {
	// The number in the attack list, with a letter where that names several.
	id, name string
	// alone: it may take its process with it, or needs one that is new.
	alone bool
	run   func(*params) result
}

func (a attack) item() int {
	item, _ := strconv.Atoi(regexp.MustCompile(`^\d+`).FindString(a.id))
	return item
}

var attacks = slices.Concat(fileAttacks, processAttacks, mountAttacks, kernelAttacks, identityAttacks, networkAttacks,
	codeAttacks, bombAttacks, hostAttacks)

func init() {
	slices.SortStableFunc(attacks, func(a, b attack) int {
		if a.item() != b.item() {
			return a.item() - b.item()
		}
		return bytes.Compare([]byte(a.id), []byte(b.id))
	})
}

func listed() []map[string]any {
	list := make([]map[string]any, 0, len(attacks))
	for _, a := range attacks {
		list = append(list, map[string]any{"id": a.id, "name": a.name, "item": a.item()})
	}
	return list
}

// try runs the attacks with these ids ("9a"), of these numbers ("9") or "all".
func try(ids []string, p *params) ([]result, error) {
	p.withDefaults()
	results := []result{}
	for _, wanted := range ids {
		found := false
		for _, a := range attacks {
			if wanted == "all" || wanted == a.id || wanted == strconv.Itoa(a.item()) {
				found = true
				results = append(results, a.try(p))
			}
		}
		if !found {
			return nil, fmt.Errorf("there is no attack %q; escape -list prints them", wanted)
		}
	}
	return results, nil
}

func (a attack) try(p *params) (r result) {
	defer func() {
		if panicked := recover(); panicked != nil {
			r = result{Outcome: blocked, Detail: fmt.Sprint("panic: ", panicked)}
		}
		r.ID, r.Name, r.Item = a.id, a.name, a.item()
	}()
	if a.alone {
		return inChild(a.id, p)
	}
	// Namespaces and credentials are a thread's own.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return a.run(p)
}

// inChild runs the attack in a process of its own, which is this program again.
func inChild(id string, p *params) result {
	input, err := json.Marshal(p)
	if err != nil {
		return result{Outcome: notApplicable, Detail: err.Error()}
	}
	var last error
	for _, program := range ownPrograms() {
		child := exec.Command(program, "-attack", id)
		var output, errors bytes.Buffer
		child.Stdin, child.Stdout, child.Stderr = bytes.NewReader(input), &output, &errors
		if err := child.Start(); err != nil {
			last = err
			continue
		}
		timer := time.AfterFunc(time.Minute, func() { _ = child.Process.Kill() })
		err := child.Wait()
		timer.Stop()
		var r result
		if json.Unmarshal(output.Bytes(), &r) == nil && r.Outcome != "" {
			return r
		}
		said, _, _ := bytes.Cut(errors.Bytes(), []byte("\n"))
		return result{Outcome: contained, Detail: fmt.Sprintf("its process ended: %v; %s; %s", err, bytes.TrimSpace(output.Bytes()), said)}
	}
	return refused("no process can be started: ", last)
}

// ownPrograms are the names by which this program may be found.
func ownPrograms() []string {
	programs := []string{"/proc/self/exe"}
	if path, err := os.Executable(); err == nil {
		programs = append(programs, path)
	}
	if path, err := filepath.Abs(os.Args[0]); err == nil {
		programs = append(programs, path)
	}
	return programs
}

// alone is the other side of inChild.
func alone(arguments []string) {
	var p params
	if err := json.NewDecoder(os.Stdin).Decode(&p); err != nil {
		fail(err)
	}
	for _, a := range attacks {
		if len(arguments) == 1 && a.id == arguments[0] {
			a.alone = false
			_ = json.NewEncoder(os.Stdout).Encode(a.try(&p))
			return
		}
	}
	fail(fmt.Errorf("no attack %q", arguments))
}

func open(format string, values ...any) result {
	return result{Outcome: opened, Detail: fmt.Sprintf(format, values...)}
}

func holds(format string, values ...any) result {
	return result{Outcome: contained, Detail: fmt.Sprintf(format, values...)}
}

func absent(format string, values ...any) result {
	return result{Outcome: notApplicable, Detail: fmt.Sprintf(format, values...)}
}

func needs(parameter string) result { return absent("needs the parameter %s", parameter) }

// refused is the result of an error.
func refused(what string, err error) result {
	r := result{Outcome: blocked, Detail: what}
	if err != nil {
		r.Detail += err.Error()
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		r.Errno = errnoName(errno)
	}
	return r
}

// denied is a refusal by a system call.
func denied(what string, errno syscall.Errno) result {
	if what != "" {
		what += ": "
	}
	return result{Outcome: blocked, Detail: what + errno.Error(), Errno: errnoName(errno)}
}

// judge says open where there was no error.
func judge(err error, format string, values ...any) result {
	if err != nil {
		return refused("", err)
	}
	return open(format, values...)
}

// shortOf is for calls whose last argument is wrong on purpose: the errors show that the right had been there.
func shortOf(errno syscall.Errno, short ...syscall.Errno) result {
	if errno == 0 || slices.Contains(short, errno) {
		return result{Outcome: opened, Detail: "allowed; this attempt was wrong on purpose", Errno: errnoName(errno)}
	}
	return denied("", errno)
}
