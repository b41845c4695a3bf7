package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"
)

// witnessed is what the victim noticed.
type witnessed struct {
	Signals int64 `json:"signals"`
	TCP     int64 `json:"tcp"`
	UDP     int64 `json:"udp"`
	Unix    int64 `json:"unix"`
	// Abstract counts connections to the abstract socket.
	Abstract int64    `json:"abstract"`
	Changed  []string `json:"changed"`
}

// playOutside is a process that attacks are made on: it has a secret in its memory, in a file and behind sockets.
func playOutside() {
	dir, err := os.MkdirTemp("", "gk-escape-outside-")
	if err != nil {
		fail(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	random := make([]byte, 8)
	if file, err := os.Open("/dev/urandom"); err != nil {
		fail(err)
	} else if _, err := io.ReadFull(file, random); err != nil {
		fail(err)
	}
	said := []byte(fmt.Sprintf("secret-%x", random))
	manifest := "name: other\nversion: 1.0.0\nruntime: grpc\n"
	p := params{
		HostPID: os.Getpid(), HostAddress: addressOf(said), Secret: string(said),
		SecretFile: filepath.Join(dir, "secret"), OutsideDir: filepath.Join(dir, "directory"), OtherPluginDir: filepath.Join(dir, "other"),
		HostSocket: filepath.Join(dir, "host.sock"), AbstractSocket: "@gk-escape-" + filepath.Base(dir),
		TmpMarker: fmt.Sprintf("/tmp/gk-escape-%x", random), ShmMarker: fmt.Sprintf("/dev/shm/gk-escape-%x", random),
	}
	for _, made := range []string{p.OutsideDir, p.OtherPluginDir} {
		if err := os.Mkdir(made, 0o700); err != nil {
			fail(err)
		}
	}
	files := map[string]string{p.SecretFile: string(said), filepath.Join(p.OtherPluginDir, "plugin.yaml"): manifest, p.TmpMarker: "", p.ShmMarker: ""}
	for path, content := range files {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			fail(err)
		}
	}
	defer func() { _, _ = os.Remove(p.TmpMarker), os.Remove(p.ShmMarker) }()

	var seen witnessed
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, syscall.SIGUSR1)
	go func() {
		for range signals {
			atomic.AddInt64(&seen.Signals, 1)
		}
	}()
	p.TCP = greets("tcp", "127.0.0.1:0", said, &seen.TCP)
	greets("unix", p.HostSocket, said, &seen.Unix)
	greets("unix", p.AbstractSocket, said, &seen.Abstract)
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		fail(err)
	}
	p.UDP = packets.LocalAddr().String()
	go func() {
		asked := make([]byte, 16)
		for {
			_, from, err := packets.ReadFrom(asked)
			if err != nil {
				return
			}
			atomic.AddInt64(&seen.UDP, 1)
			_, _ = packets.WriteTo(said, from)
		}
	}()
	encoder := json.NewEncoder(os.Stdout)
	_ = encoder.Encode(p)
	_, _ = io.Copy(io.Discard, os.Stdin)
	seen.Changed = []string{}
	for path, content := range files {
		if now, err := os.ReadFile(path); err != nil || string(now) != content {
			seen.Changed = append(seen.Changed, path)
		}
	}
	_ = encoder.Encode(&seen)
}

// greets tells the secret to whoever connects.
func greets(network, address string, said []byte, count *int64) string {
	listener, err := net.Listen(network, address)
	if err != nil {
		fail(err)
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			atomic.AddInt64(count, 1)
			_, _ = conn.Write(said)
			_ = conn.Close()
		}
	}()
	return listener.Addr().String()
}

// outside is a victim that this process has started.
type outside struct {
	params *params
	child  *exec.Cmd
	stdin  io.Closer
}

func startOutside() (*outside, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	child := exec.Command(program, "-outside")
	child.Stderr = os.Stderr
	stdin, err := child.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := child.Start(); err != nil {
		return nil, err
	}
	o := &outside{params: &params{}, child: child, stdin: stdin}
	if err := json.NewDecoder(bufio.NewReader(stdout)).Decode(o.params); err != nil {
		o.end()
		return nil, err
	}
	go func() { _, _ = io.Copy(io.Discard, stdout) }()
	return o, nil
}

func (o *outside) end() {
	_ = o.stdin.Close()
	_ = o.child.Wait()
}
