package plugins

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

type attacked struct {
	ID, Name, Outcome, Detail, Errno string
	Item                             int
}

// notOpen are the attacks that may fail although nothing confines them, and why. Every other one must succeed for
// root: an attack that never can proves nothing about a sandbox.
var notOpen = map[string]string{
	// Hosts that are a container or a virtual machine guard their first process, and the kernel does always.
	"4a": "pid 1", "4b": "pid 1", "4c": "pid 1", "4d": "pid 1", "6a": "pid 1", "6b": "asked for", "7b": "pid 1", "8c": "pid 1",
	"8e": "pid 1", "16a": "pid 1",
	// What a kernel may be built without, or have locked.
	"10a": "kernel", "10b": "kernel", "10c": "kernel", "11a": "kernel", "11b": "kernel", "11c": "kernel", "11d": "kernel", "11e": "kernel",
	"12a": "kernel", "12b": "kernel", "12c": "kernel", "12d": "kernel", "12e": "kernel", "12f": "kernel", "13a": "kernel", "13b": "kernel",
	"15a": "kernel", "15f": "kernel", "15g": "kernel", "15h": "kernel", "17a": "kernel", "17b": "kernel", "17c": "kernel", "17d": "kernel",
	"17e": "kernel", "17f": "kernel", "17g": "kernel", "17h": "kernel", "18a": "kernel", "18b": "kernel", "18c": "kernel", "19a": "kernel",
	"19b": "kernel", "19c": "kernel", "20a": "kernel", "20b": "kernel", "20c": "kernel", "20d": "kernel", "20f": "kernel", "20g": "kernel",
	"20j": "kernel", "20k": "kernel", "20l": "kernel", "20m": "kernel", "24a": "kernel", "24b": "kernel", "26c": "kernel", "26d": "kernel",
	"26e": "kernel", "26f": "kernel", "29a": "kernel", "29b": "kernel",
	// What depends on the machine.
	"22d": "setuid programs", "22g": "nosuid", "25b": "a network", "25e": "a network", "25d": "a network", "28c": "services",
	"31e": "a dynamic loader", "37b": "capabilities", "34e": "capabilities",
	// A map is written once, and setgroups can only be given up.
	"14a": "once", "14b": "once", "14c": "once",
	// A program that runs cannot be written to.
	"34a": "busy", "34b": "busy",
}

// TestEveryAttackCanSucceed runs the attacks with nothing around them: as root, most must be open.
func TestEveryAttackCanSucceed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("the attacks are root's: run this test as root, as CI does (sudo go test ./...)")
	}
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, filepath.Join(bin, "escape"), "-run", "all")
	// Its last wish is at the end: the processes that it started end with it.
	command.Env = []string{"TMPDIR=" + dir, "PATH=" + os.Getenv("PATH")}
	command.Stderr = os.Stderr
	leaked, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = leaked.Close() }()
	command.ExtraFiles = []*os.File{leaked}
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	output, err := command.Output()
	if err != nil {
		t.Fatalf("escape: %v\n%s", err, output)
	}
	var results []attacked
	if err := json.Unmarshal(output, &results); err != nil {
		t.Fatal(err)
	}
	counts, items := map[string]int{}, map[int]bool{}
	for _, r := range results {
		counts[r.Outcome]++
		items[r.Item] = true
		t.Logf("%-4s %-14s %-12s %s: %s", r.ID, r.Outcome, r.Errno, r.Name, r.Detail)
		if r.Outcome == "not applicable" {
			if !strings.Contains(r.Detail, "mode ") && !strings.Contains(r.Detail, "as a plugin") && notOpen[r.ID] == "" && r.ID != "31b" {
				t.Errorf("%s is not applicable: %s", r.ID, r.Detail)
			}
		} else if r.Outcome != "open" && notOpen[r.ID] == "" {
			t.Errorf("%s (%s) is %s although nothing hinders it: %s", r.ID, r.Name, r.Outcome, r.Detail)
		}
	}
	t.Logf("%d attacks: %v", len(results), counts)
	for item := 1; item <= 42; item++ {
		if !items[item] {
			t.Errorf("no attack has the number %d", item)
		}
	}
	// Whatever the kernel is built without: most of them.
	if counts["open"] < 100 {
		t.Errorf("only %d attacks are open", counts["open"])
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// TestAttacksOfMisbehave looks for the modes that attacks are said to be.
func TestAttacksOfMisbehave(t *testing.T) {
	modes, err := exec.Command(filepath.Join(bin, "misbehave"), "-list").Output()
	if err != nil {
		t.Fatal(err)
	}
	var known []string
	for line := range strings.Lines(string(modes)) {
		known = append(known, strings.Fields(line)[0])
	}
	output, err := exec.Command(filepath.Join(bin, "escape"), "-run", "40,42").Output()
	if err != nil {
		t.Fatal(err)
	}
	var results []attacked
	if err := json.Unmarshal(output, &results); err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		fields := strings.Fields(r.Detail)
		if strings.HasPrefix(r.Detail, "is the mode ") && !slices.Contains(known, fields[3]) {
			t.Errorf("%s: misbehave has no mode %s", r.ID, fields[3])
		}
	}
}

// TestHarmless: all that a plugin may do works where nothing confines it.
func TestHarmless(t *testing.T) {
	command := exec.Command(filepath.Join(bin, "harmless"), "-checks")
	command.Env = append(os.Environ(), "TMPDIR="+t.TempDir(), "HOME="+t.TempDir())
	output, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	var results []struct {
		Name, Detail string
		OK           bool
	}
	if err := json.Unmarshal(output, &results); err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if !r.OK {
			t.Errorf("%s: %s", r.Name, r.Detail)
		}
	}
	if len(results) < 20 {
		t.Errorf("%d checks: %s", len(results), output)
	}
}
