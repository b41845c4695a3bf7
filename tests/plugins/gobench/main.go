// gobench measures calls through HashiCorp's go-plugin, as a host would make them.
//
//	gobench -plugin PATH [-payload N,…] [-callers N,…] [-seconds S | -calls N] [-instances N]
//
// It prints one JSON line for each payload and number of callers:
//
//	{"payload_bytes":64,"callers":1,"calls":1000,"p50_us":…,"p99_us":…,"calls_per_s":…,"spawn_ms":…,"rss_kb":…}
//
// -stdin reads lines "PAYLOAD CALLERS SECONDS" instead and answers each with such a line, so that another program can
// interleave its own measurements. -instances starts that many processes (calls go to the first); with -calls 0 it
// only starts them and prints one line with spawn_ms (of the first) and rss_kb.
//
// -starts reads lines "plain" and "checksum", starts the plugin for each, with go-plugin's SecureConfig and the
// SHA-256 of the file for the second, and answers {"start_ms":…} once it is initialised and ended again.
package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"example.org/goatkit/testplugins/internal/host"
)

type line struct {
	PayloadBytes int     `json:"payload_bytes"`
	Callers      int     `json:"callers"`
	Calls        int     `json:"calls"`
	P50          float64 `json:"p50_us"`
	P99          float64 `json:"p99_us"`
	PerSecond    float64 `json:"calls_per_s"`
	SpawnMS      float64 `json:"spawn_ms"`
	RSSKB        int     `json:"rss_kb"`
	Instances    int     `json:"instances"`
}

func main() {
	path := flag.String("plugin", "", "plugin executable")
	payloads := flag.String("payload", "64", "bytes of arguments, comma separated")
	callers := flag.String("callers", "1", "concurrent callers, comma separated")
	seconds := flag.Float64("seconds", 2, "time to measure each")
	calls := flag.Int("calls", -1, "calls to make instead of -seconds")
	instances := flag.Int("instances", 1, "processes to start")
	stdin := flag.Bool("stdin", false, "read what to measure from stdin")
	starts := flag.Bool("starts", false, "read from stdin how to start the plugin, and measure that")
	flag.Parse()
	log.SetOutput(io.Discard)
	if *starts {
		if err := measureStarts(*path); err != nil {
			fmt.Fprintln(os.Stderr, "gobench:", err)
			os.Exit(1)
		}
		return
	}
	if err := bench(*path, *payloads, *callers, *seconds, *calls, *instances, *stdin); err != nil {
		fmt.Fprintln(os.Stderr, "gobench:", err)
		os.Exit(1)
	}
}

func bench(path, payloads, callers string, seconds float64, calls, instances int, stdin bool) error {
	if path == "" || instances < 1 {
		return errors.New("usage: gobench -plugin PATH [flags]; see gobench -h")
	}
	var running []*host.Plugin
	defer func() {
		var group sync.WaitGroup
		for _, p := range running {
			group.Add(1)
			go func() { defer group.Done(); _ = p.Shutdown(); p.Kill() }()
		}
		group.Wait()
	}()
	var spawn time.Duration
	for i := range instances {
		begin := time.Now()
		p, err := initialised(path, nil)
		if err != nil {
			return err
		}
		running = append(running, p)
		if i == 0 {
			spawn = time.Since(begin)
		}
	}
	report := func(l line) error {
		l.SpawnMS, l.Instances = float64(spawn.Microseconds())/1000, instances
		var err error
		if l.RSSKB, err = rss(); err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(l)
	}
	if stdin {
		scanner := bufio.NewScanner(os.Stdin)
		for scanner.Scan() {
			var payload, count int
			var duration float64
			if _, err := fmt.Sscan(scanner.Text(), &payload, &count, &duration); err != nil {
				return fmt.Errorf("%q is not PAYLOAD CALLERS SECONDS: %w", scanner.Text(), err)
			}
			l, err := measure(running[0], payload, count, duration, -1)
			if err != nil {
				return err
			}
			if err := report(l); err != nil {
				return err
			}
		}
		return scanner.Err()
	}
	if calls == 0 {
		return report(line{})
	}
	for _, payload := range strings.Split(payloads, ",") {
		for _, count := range strings.Split(callers, ",") {
			bytes, err := strconv.Atoi(payload)
			if err != nil {
				return err
			}
			concurrent, err := strconv.Atoi(count)
			if err != nil {
				return err
			}
			l, err := measure(running[0], bytes, concurrent, seconds, calls)
			if err != nil {
				return err
			}
			if err := report(l); err != nil {
				return err
			}
		}
	}
	return nil
}

// initialised starts the plugin, checked against the sum if there is one, and initialises it.
func initialised(path string, sum []byte) (*host.Plugin, error) {
	p, err := host.StartChecked(path, sum, io.Discard, io.Discard)
	if err != nil {
		return nil, err
	}
	if _, _, err := p.Register(); err != nil {
		p.Kill()
		return nil, fmt.Errorf("GKRegister: %w", err)
	}
	if err := p.Init(map[string]string{"plugin_name": "bench"}, nothing{}); err != nil {
		p.Kill()
		return nil, fmt.Errorf("Init: %w", err)
	}
	return p, nil
}

func checksum(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return nil, err
	}
	return hash.Sum(nil), nil
}

// measureStarts starts the plugin for each line of stdin, in the way that it names.
func measureStarts(path string) error {
	scanner := bufio.NewScanner(os.Stdin)
	for scanner.Scan() {
		var sum []byte
		switch scanner.Text() {
		case "plain":
		case "checksum":
			// As it stands in a configuration, so it is no part of the start.
			var err error
			if sum, err = checksum(path); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%q is neither plain nor checksum", scanner.Text())
		}
		begin := time.Now()
		p, err := initialised(path, sum)
		if err != nil {
			return err
		}
		taken := time.Since(begin)
		err = p.Shutdown()
		p.Kill()
		if err != nil {
			return fmt.Errorf("Shutdown: %w", err)
		}
		answer := map[string]float64{"start_ms": float64(taken.Microseconds()) / 1000}
		if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
			return err
		}
	}
	return scanner.Err()
}

// nothing is a host API without methods that matter: plugins of the later generations dial it in Init.
type nothing struct{}

func (nothing) Call(request host.HostAPIRequest, reply *host.HostAPIResponse) error {
	reply.Error = "unknown host API method: " + request.Method
	return nil
}

// measure calls echo from several goroutines, for a time or a number of calls, after a short warm-up.
func measure(p *host.Plugin, payload, callers int, seconds float64, calls int) (line, error) {
	if payload < 2 || callers < 1 {
		return line{}, errors.New("a payload has at least 2 bytes, and there is at least 1 caller")
	}
	args := append(append([]byte{'"'}, bytes.Repeat([]byte{'x'}, payload-2)...), '"')
	for range 20 {
		if _, err := p.Call("echo", args, ""); err != nil {
			return line{}, err
		}
	}
	taken := make([][]time.Duration, callers)
	failures := make(chan error, callers)
	begin := time.Now()
	end := begin.Add(time.Duration(seconds * float64(time.Second)))
	var group sync.WaitGroup
	for caller := range callers {
		share := calls / callers
		if caller < calls%callers {
			share++
		}
		group.Add(1)
		go func() {
			defer group.Done()
			times := make([]time.Duration, 0, 1<<14)
			for last := begin; calls >= 0 && len(times) < share || calls < 0 && last.Before(end); {
				start := time.Now()
				answer, err := p.Call("echo", args, "")
				last = time.Now()
				if err != nil {
					failures <- err
					return
				}
				if len(answer) != len(args) {
					failures <- fmt.Errorf("echo of %d bytes has %d", len(args), len(answer))
					return
				}
				times = append(times, last.Sub(start))
			}
			taken[caller] = times
		}()
	}
	group.Wait()
	elapsed := time.Since(begin)
	select {
	case err := <-failures:
		return line{}, err
	default:
	}
	all := slices.Concat(taken...)
	slices.Sort(all)
	if len(all) == 0 {
		return line{}, errors.New("no call was made")
	}
	at := func(part float64) float64 {
		return float64(all[int(float64(len(all)-1)*part)].Nanoseconds()) / 1000
	}
	return line{
		PayloadBytes: payload, Callers: callers, Calls: len(all), P50: at(0.5), P99: at(0.99),
		PerSecond: float64(len(all)) / elapsed.Seconds(),
	}, nil
}

// rss is the resident memory of this process in KiB.
func rss() (int, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for _, text := range strings.Split(string(status), "\n") {
		if value, found := strings.CutPrefix(text, "VmRSS:"); found {
			return strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")))
		}
	}
	return 0, errors.New("no VmRSS in /proc/self/status")
}
