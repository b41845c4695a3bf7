package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"example.org/goatkit/testplugins/internal/contract"
)

var checks = []check{
	{"environment", environment},
	{"files in TMPDIR", func(*given) (string, error) { return files(os.TempDir()) }},
	{"files in HOME", func(*given) (string, error) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		return files(home)
	}},
	{"files in the work directory", func(g *given) (string, error) {
		if g.config["work_dir"] == "" {
			return "", errAbsent
		}
		return files(g.config["work_dir"])
	}},
	{"starts in a directory that is there", func(*given) (string, error) {
		dir, err := os.Getwd()
		if err != nil {
			return "", err
		}
		_, err = os.Stat(dir)
		return dir, err
	}},
	{"mapped files", mapped},
	{"locked files", locked},
	{"its package's directory", packageDir},
	{"stat of /", func(*given) (string, error) {
		info, err := os.Stat("/")
		if err != nil {
			return "", err
		}
		return info.Mode().String(), nil
	}},
	{"/dev/null, /dev/zero, /dev/urandom", devices},
	{"random numbers", func(*given) (string, error) {
		number := make([]byte, 32)
		if _, err := rand.Read(number); err != nil {
			return "", err
		}
		n, err := unix.Getrandom(number, 0)
		return fmt.Sprintf("%d bytes", n), err
	}},
	{"time and time zones", zones},
	{"timers", timers},
	{"goroutines and threads", threads},
	{"deep stacks", func(*given) (string, error) {
		depths := make(chan int)
		for range 4 {
			go func() { depths <- deep(100_000) }()
		}
		for range 4 {
			if depth := <-depths; depth != 100_000 {
				return "", fmt.Errorf("depth %d", depth)
			}
		}
		return "4 of 100000 frames", nil
	}},
	{"garbage collection at 100 MiB", collected},
	{"pipes", func(*given) (string, error) {
		read, write, err := os.Pipe()
		if err != nil {
			return "", err
		}
		defer func() { _ = read.Close() }()
		go func() { _, _ = write.Write([]byte("through")); _ = write.Close() }()
		text, err := io.ReadAll(read)
		return string(text), err
	}},
	{"a pair of unix sockets", socketPair},
	{"its own unix socket in TMPDIR", ownSocket},
	{"child processes", children},
	{"a child that is killed", killedChild},
	{"signals to itself", signals},
	{"TLS in memory", tlsInMemory},
	{"limits and usage", func(*given) (string, error) {
		var limit unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			return "", err
		}
		if limit.Cur < 256 {
			return "", fmt.Errorf("only %d descriptors", limit.Cur)
		}
		var usage unix.Rusage
		return fmt.Sprintf("%d descriptors", limit.Cur), unix.Getrusage(unix.RUSAGE_SELF, &usage)
	}},
	{"the host: time", func(g *given) (string, error) { return ask(g, "time_now", map[string]any{}) }},
	{"the host: log", func(g *given) (string, error) {
		return ask(g, "log", map[string]any{"level": "info", "message": "harmless"})
	}},
	{"the host: cache", func(g *given) (string, error) {
		if _, err := ask(g, "cache_set", map[string]any{"key": "harmless", "value": []byte("1"), "ttl_seconds": 60}); err != nil {
			return "", err
		}
		return ask(g, "cache_get", map[string]any{"key": "harmless"})
	}},
	{"the host: database", func(g *given) (string, error) {
		if !g.Database {
			return "", errAbsent
		}
		return ask(g, "db_query", map[string]any{"query": "SELECT 1 AS one", "args": []any{}})
	}},
	{"the host: HTTP", func(g *given) (string, error) {
		if g.URL == "" {
			return "", errAbsent
		}
		return ask(g, "http_request", map[string]any{"method": "GET", "url": g.URL})
	}},
}

func ask(g *given, method string, arguments any) (string, error) {
	if g.call == nil {
		return "", errAbsent
	}
	answer, err := g.call.Host(method, arguments)
	if len(answer) > 200 {
		answer = answer[:200]
	}
	return string(answer), err
}

// environment is what a plugin is promised to find, and nothing of the host's.
func environment(g *given) (string, error) {
	if g.call == nil {
		return "", errAbsent
	}
	known := map[string]bool{
		"GOATKIT_PLUGIN": true, "PATH": true, "HOME": true, "TMPDIR": true, "TZ": false, "GOATFLOW_NO_NETWORK": false,
		"GOMEMLIMIT": false, "GOMAXPROCS": false,
		"PLUGIN_UNIX_SOCKET_DIR": true, "PLUGIN_MIN_PORT": false, "PLUGIN_MAX_PORT": false, "PLUGIN_PROTOCOL_VERSIONS": false,
		"PLUGIN_CLIENT_CERT": false, "PLUGIN_MULTIPLEX_GRPC": false, "PLUGIN_UNIX_SOCKET_GROUP": false,
	}
	for name, promised := range known {
		if _, there := os.LookupEnv(name); promised && !there {
			return "", fmt.Errorf("%s is missing", name)
		}
	}
	for _, variable := range os.Environ() {
		name, _, _ := bytes.Cut([]byte(variable), []byte("="))
		if _, expected := known[string(name)]; !expected {
			return "", fmt.Errorf("%s was not promised", name)
		}
	}
	for _, dir := range []string{os.Getenv("HOME"), os.Getenv("TMPDIR"), os.Getenv("PLUGIN_UNIX_SOCKET_DIR")} {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return "", fmt.Errorf("%q is no directory: %w", dir, err)
		}
	}
	return fmt.Sprintf("%d variables", len(os.Environ())), nil
}

func files(dir string) (string, error) {
	work, err := os.MkdirTemp(dir, "harmless-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(work) }()
	first, second := filepath.Join(work, "first"), filepath.Join(work, "second")
	if err := os.WriteFile(first, bytes.Repeat([]byte("x"), 1<<20), 0o600); err != nil {
		return "", err
	}
	steps := []error{
		os.Rename(first, second), os.Symlink("second", filepath.Join(work, "link")), os.Link(second, filepath.Join(work, "hard")),
		os.Mkdir(filepath.Join(work, "directory"), 0o700), os.Chmod(second, 0o640), os.Truncate(second, 1<<10),
		os.Chtimes(second, time.Now(), time.Now()),
	}
	if err := errors.Join(steps...); err != nil {
		return "", err
	}
	content, err := os.ReadFile(filepath.Join(work, "link"))
	if err != nil {
		return "", err
	}
	entries, err := os.ReadDir(work)
	if err != nil || len(entries) != 4 || len(content) != 1<<10 {
		return "", fmt.Errorf("%d entries, %d bytes: %w", len(entries), len(content), err)
	}
	file, err := os.OpenFile(second, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	if _, err := file.WriteString("more"); err != nil {
		return "", err
	}
	return dir, file.Sync()
}

func mapped(*given) (string, error) {
	file, err := os.CreateTemp("", "mapped-")
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close(); _ = os.Remove(file.Name()) }()
	if err := file.Truncate(1 << 20); err != nil {
		return "", err
	}
	memory, err := unix.Mmap(int(file.Fd()), 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return "", err
	}
	copy(memory, "mapped")
	if err := unix.Msync(memory, unix.MS_SYNC); err != nil {
		return "", err
	}
	read := make([]byte, 6)
	if _, err := file.ReadAt(read, 0); err != nil || string(read) != "mapped" {
		return "", fmt.Errorf("the file holds %q: %w", read, err)
	}
	return "1 MiB", unix.Munmap(memory)
}

func locked(*given) (string, error) {
	file, err := os.CreateTemp("", "locked-")
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close(); _ = os.Remove(file.Name()) }()
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return "", err
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	return "flock and fcntl", unix.FcntlFlock(file.Fd(), unix.F_SETLK, &lock)
}

func packageDir(g *given) (string, error) {
	dir := g.config["plugin_dir"]
	if dir == "" {
		return "", errAbsent
	}
	manifest, err := os.ReadFile(filepath.Join(dir, "plugin.yaml"))
	if err == nil && len(manifest) == 0 {
		err = errors.New("the manifest is empty")
	}
	return dir, err
}

func devices(*given) (string, error) {
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer func() { _ = null.Close() }()
	if _, err := null.Write([]byte("gone")); err != nil {
		return "", err
	}
	for _, path := range []string{"/dev/zero", "/dev/urandom"} {
		file, err := os.Open(path)
		if err != nil {
			return "", err
		}
		_, err = io.ReadFull(file, make([]byte, 4096))
		_ = file.Close()
		if err != nil {
			return "", err
		}
	}
	return "as they should be", nil
}

func zones(*given) (string, error) {
	if _, err := time.LoadLocation("Local"); err != nil {
		return "", err
	}
	if age := time.Since(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)); age < 0 {
		return "", errors.New("the clock is wrong")
	}
	return time.Now().Format(time.RFC3339), nil
}

func timers(*given) (string, error) {
	begun := time.Now()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for range 10 {
		<-ticker.C
	}
	<-time.After(5 * time.Millisecond)
	return time.Since(begun).Round(time.Millisecond).String(), nil
}

func threads(*given) (string, error) {
	const number = 32
	var ready, done, ended sync.WaitGroup
	done.Add(1)
	for range number {
		ready.Add(1)
		ended.Add(1)
		go func() {
			// The thread ends with the goroutine.
			runtime.LockOSThread()
			ready.Done()
			done.Wait()
			ended.Done()
		}()
	}
	ready.Wait()
	done.Done()
	ended.Wait()
	sum := make(chan int, 10_000)
	for i := range 10_000 {
		go func() { sum <- i }()
	}
	total := 0
	for range 10_000 {
		total += <-sum
	}
	if total != 49_995_000 {
		return "", fmt.Errorf("the sum is %d", total)
	}
	return fmt.Sprintf("%d threads, 10000 goroutines", number), nil
}

//go:noinline
func deep(n int) int {
	if n == 0 {
		return 0
	}
	return deep(n-1) + 1
}

func collected(*given) (string, error) {
	defer debug.FreeOSMemory()
	for range 3 {
		blocks := make([][]byte, 0, 100)
		for i := range 100 {
			block := make([]byte, 1<<20)
			for at := 0; at < len(block); at += 4096 {
				block[at] = byte(i)
			}
			blocks = append(blocks, block)
		}
		runtime.KeepAlive(blocks)
		runtime.GC()
	}
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return fmt.Sprintf("%d collections", stats.NumGC), nil
}

func socketPair(*given) (string, error) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer func() { _ = unix.Close(ends[0]); _ = unix.Close(ends[1]) }()
	if _, err := unix.Write(ends[0], []byte("pair")); err != nil {
		return "", err
	}
	read := make([]byte, 8)
	n, err := unix.Read(ends[1], read)
	return string(read[:max(n, 0)]), err
}

func ownSocket(*given) (string, error) {
	dir, err := os.MkdirTemp("", "s-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		return "", err
	}
	defer func() { _ = listener.Close() }()
	go func() {
		if conn, err := listener.Accept(); err == nil {
			_, _ = conn.Write([]byte("hello"))
			_ = conn.Close()
		}
	}()
	conn, err := net.Dial("unix", listener.Addr().String())
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	text, err := io.ReadAll(conn)
	return string(text), err
}

// childArgument makes this program a child that answers the lines it reads.
const childArgument = "-child"

func child() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fmt.Println("child:", lines.Text())
	}
	os.Exit(7)
}

func children(*given) (string, error) {
	command := exec.Command(contract.Executable(), childArgument)
	command.Stdin = bytes.NewReader([]byte("one\ntwo\n"))
	output, err := command.Output()
	var ended *exec.ExitError
	if !errors.As(err, &ended) || ended.ExitCode() != 7 {
		return "", fmt.Errorf("it ended with %w", err)
	}
	if string(output) != "child: one\nchild: two\n" {
		return "", fmt.Errorf("it said %q", output)
	}
	return "spoken with and waited for", nil
}

func killedChild(*given) (string, error) {
	command := exec.Command(contract.Executable(), childArgument)
	stdin, err := command.StdinPipe()
	if err != nil {
		return "", err
	}
	defer func() { _ = stdin.Close() }()
	if err := command.Start(); err != nil {
		return "", err
	}
	if err := command.Process.Signal(syscall.SIGTERM); err != nil {
		return "", err
	}
	err = command.Wait()
	var ended *exec.ExitError
	if !errors.As(err, &ended) || ended.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		return "", fmt.Errorf("it ended with %w", err)
	}
	return ended.Error(), nil
}

func signals(*given) (string, error) {
	received := make(chan os.Signal, 1)
	signal.Notify(received, syscall.SIGUSR2)
	defer signal.Stop(received)
	if err := syscall.Kill(os.Getpid(), syscall.SIGUSR2); err != nil {
		return "", err
	}
	return (<-received).String(), nil
}

func tlsInMemory(*given) (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"harmless"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return "", err
	}
	parsed, err := x509.ParseCertificate(certificate)
	if err != nil {
		return "", err
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	near, far := net.Pipe()
	server := tls.Server(far, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: key}}})
	client := tls.Client(near, &tls.Config{RootCAs: roots, ServerName: "harmless"})
	go func() {
		_, _ = server.Write([]byte("encrypted"))
		_ = server.Close()
	}()
	text, err := io.ReadAll(client)
	if err == nil && string(text) != "encrypted" {
		err = fmt.Errorf("%q arrived", text)
	}
	return string(text), err
}
