package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

var processAttacks = []attack{
	{id: "3a", name: "list the host's processes in /proc", run: listProcesses},
	{id: "3b", name: "find the host's processes by their numbers", run: withHost(func(p *params) result {
		err := syscall.Kill(p.HostPID, 0)
		if errors.Is(err, syscall.EPERM) {
			return open("process %d is there", p.HostPID)
		}
		return judge(err, "process %d is there", p.HostPID)
	})},
	{id: "4a", name: "read the environment of pid 1", run: func(*params) result { return reads("/proc/1/environ") }},
	{id: "4b", name: "list the root of pid 1", run: func(*params) result { return lists("/proc/1/root/") }},
	{id: "4c", name: "list the descriptors of pid 1", run: func(*params) result { return lists("/proc/1/fd") }},
	{id: "4d", name: "open the memory of pid 1", run: func(*params) result { return opens("/proc/1/mem", os.O_RDWR) }},
	{id: "4e", name: "read a host process's environment", run: withHost(func(p *params) result { return reads(proc(p.HostPID, "environ")) })},
	{id: "4f", name: "list a host process's root", run: withHost(func(p *params) result { return lists(proc(p.HostPID, "root/")) })},
	{id: "4g", name: "read the parent's environment", run: func(*params) result {
		if os.Getppid() == 0 {
			return refused("the parent is in another namespace of processes", nil)
		}
		return reads(proc(os.Getppid(), "environ"))
	}},
	{id: "5a", name: "signal a host process: kill", run: withHost(func(p *params) result {
		return judge(syscall.Kill(p.HostPID, syscall.SIGUSR1), "SIGUSR1 to %d", p.HostPID)
	})},
	{id: "5b", name: "signal a host process: tgkill", run: withHost(func(p *params) result {
		return judge(unix.Tgkill(p.HostPID, p.HostPID, syscall.SIGUSR1), "SIGUSR1 to %d", p.HostPID)
	})},
	{id: "5c", name: "signal a host process: pidfd", run: withHost(func(p *params) result {
		fd, err := unix.PidfdOpen(p.HostPID, 0)
		if err != nil {
			return refused("pidfd_open: ", err)
		}
		defer func() { _ = unix.Close(fd) }()
		return judge(unix.PidfdSendSignal(fd, unix.SIGUSR1, nil, 0), "SIGUSR1 to %d", p.HostPID)
	})},
	{id: "5d", name: "change a host process's priority", run: withHost(func(p *params) result {
		// Its own nice value again.
		nice, err := unix.Getpriority(unix.PRIO_PROCESS, p.HostPID)
		if err != nil {
			return refused("getpriority: ", err)
		}
		return judge(unix.Setpriority(unix.PRIO_PROCESS, p.HostPID, 20-nice), "nice value %d", 20-nice)
	})},
	{id: "5e", name: "change a host process's limits", run: withHost(func(p *params) result {
		var limit unix.Rlimit
		if err := unix.Prlimit(p.HostPID, unix.RLIMIT_CORE, nil, &limit); err != nil {
			return refused("", err)
		}
		return judge(unix.Prlimit(p.HostPID, unix.RLIMIT_CORE, &limit, nil), "its own limit again")
	})},
	{id: "6a", name: "kill -9 1", run: func(*params) result { return signalInit(syscall.SIGKILL) }},
	{id: "6b", name: "every signal to pid 1", run: func(p *params) result {
		if !p.SignalInit {
			return needs("signal_init")
		}
		var last result
		for signal := syscall.Signal(1); signal <= 64; signal++ {
			if last = signalInit(signal); last.Outcome == opened {
				break
			}
		}
		return last
	}},
	{id: "7a", name: "trace a host process", run: withHost(func(p *params) result { return trace(p.HostPID) })},
	{id: "7b", name: "trace pid 1", run: func(*params) result { return trace(1) }},
	{id: "7c", name: "trace a sibling", run: traceSibling},
	{id: "7d", name: "be traced", run: func(*params) result {
		return attempt("PTRACE_TRACEME", func() (uintptr, syscall.Errno) { return call(unix.SYS_PTRACE, 0) })
	}},
	{id: "8a", name: "process_vm_readv of a host process", run: withHost(vmRead)},
	{id: "8b", name: "process_vm_writev to a host process", run: withHost(vmWrite)},
	{id: "8c", name: "process_vm_readv of pid 1", run: func(*params) result {
		var local [8]byte
		_, err := unix.ProcessVMReadv(1, []unix.Iovec{iovec(local[:])}, []unix.RemoteIovec{{Base: 0x1000, Len: 8}}, 0)
		if errors.Is(err, syscall.EFAULT) {
			return open("allowed, at an address that is not mapped")
		}
		return judge(err, "read")
	}},
	{id: "8d", name: "pidfd_getfd from a host process", run: withHost(func(p *params) result { return takeDescriptor(p.HostPID) })},
	{id: "8e", name: "pidfd_getfd from pid 1", run: func(*params) result { return takeDescriptor(1) }},
	{id: "8f", name: "read a host process's memory through /proc", run: withHost(func(p *params) result {
		mem, err := os.Open(proc(p.HostPID, "mem"))
		if err != nil {
			return refused("", err)
		}
		defer func() { _ = mem.Close() }()
		read := make([]byte, len(p.Secret))
		_, err = mem.ReadAt(read, int64(p.HostAddress))
		return secret(p, "its memory")(read, err)
	})},
	{id: "14a", name: "rewrite its own uid_map", run: func(*params) result {
		return judge(os.WriteFile("/proc/self/uid_map", []byte("0 0 1\n"), 0), "written")
	}},
	{id: "14b", name: "rewrite its own gid_map", run: func(*params) result {
		return judge(os.WriteFile("/proc/self/gid_map", []byte("0 0 1\n"), 0), "written")
	}},
	{id: "14c", name: "rewrite its own setgroups", run: func(*params) result {
		if before, err := os.ReadFile("/proc/self/setgroups"); err != nil || string(before) == "allow\n" {
			return refused("there is nothing to lift: it is allowed", err)
		}
		return judge(os.WriteFile("/proc/self/setgroups", []byte("allow\n"), 0), "written")
	}},
	{id: "39a", name: "daemonise", run: daemonise},
	{id: "39b", name: "clear the signal of its parent's death", run: func(*params) result {
		return attempt("PR_SET_PDEATHSIG", func() (uintptr, syscall.Errno) { return call(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, 0) })
	}},
}

func withHost(attack func(*params) result) func(*params) result {
	return func(p *params) result {
		if p.HostPID == 0 {
			return needs("host_pid")
		}
		return attack(p)
	}
}

func proc(pid int, name string) string { return fmt.Sprintf("/proc/%d/%s", pid, name) }

func listProcesses(p *params) result {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return refused("", err)
	}
	count, seen := 0, false
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			count++
			seen = seen || pid == p.HostPID
		}
	}
	if seen {
		return open("%d processes, the host's among them", count)
	}
	return holds("%d processes, none of them the host's", count)
}

func signalInit(signal syscall.Signal) result {
	if err := syscall.Kill(1, signal); err != nil {
		return refused("", err)
	}
	if err := syscall.Kill(1, 0); errors.Is(err, syscall.ESRCH) {
		return open("pid 1 is gone")
	}
	return holds("%v was sent, and pid 1 is still there", signal)
}

// trace seizes a process, which does not stop it, and ends: that lets it go.
func trace(pid int) result {
	return attempt("PTRACE_SEIZE", func() (uintptr, syscall.Errno) { return call(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(pid)) })
}

func traceSibling(*params) result {
	var ends [2]int
	if err := syscall.Pipe2(ends[:], syscall.O_CLOEXEC); err != nil {
		return refused("pipe: ", err)
	}
	sibling, errno := pausedChild(ends[0], ends[1])
	_ = syscall.Close(ends[0])
	if errno != 0 {
		_ = syscall.Close(ends[1])
		return denied("fork", errno)
	}
	defer func() { _, _ = syscall.Wait4(sibling, nil, 0, nil) }()
	defer func() { _ = syscall.Close(ends[1]) }()
	return trace(sibling)
}

func iovec(data []byte) unix.Iovec {
	vector := unix.Iovec{Base: &data[0]}
	vector.SetLen(len(data))
	return vector
}

func vmRead(p *params) result {
	if p.HostAddress == 0 {
		return needs("host_address")
	}
	local := make([]byte, len(p.Secret))
	_, err := unix.ProcessVMReadv(p.HostPID, []unix.Iovec{iovec(local)}, []unix.RemoteIovec{{Base: uintptr(p.HostAddress), Len: len(local)}}, 0)
	return secret(p, "its memory")(local, err)
}

// vmWrite writes what is there.
func vmWrite(p *params) result {
	if p.HostAddress == 0 {
		return needs("host_address")
	}
	local := []byte(p.Secret)
	n, err := unix.ProcessVMWritev(p.HostPID, []unix.Iovec{iovec(local)}, []unix.RemoteIovec{{Base: uintptr(p.HostAddress), Len: len(local)}}, 0)
	return judge(err, "%d bytes", n)
}

func takeDescriptor(pid int) result {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return refused("pidfd_open: ", err)
	}
	defer func() { _ = unix.Close(pidfd) }()
	fd, err := unix.PidfdGetfd(pidfd, 0, 0)
	if err == nil {
		_ = unix.Close(fd)
	}
	return judge(err, "its stdin")
}

// daemonise leaves a process behind that is in a session of its own, writes its number to a file and listens on a
// socket. That it does not outlive the host can only be seen from outside; from inside this says whether it could.
func daemonise(p *params) result {
	dir := p.DaemonDir
	if dir == "" {
		dir = os.TempDir()
	}
	file := filepath.Join(dir, "daemon.pid")
	_ = os.Remove(file)
	started := false
	var last error
	for _, program := range ownPrograms() {
		process, err := os.StartProcess(program, []string{program, "-daemon", dir, "detach"}, &os.ProcAttr{Sys: &syscall.SysProcAttr{Setsid: true}})
		if err == nil {
			_, _ = process.Wait()
			started = true
			break
		}
		last = err
	}
	if !started {
		return refused("no process can be started: ", last)
	}
	for range 3000 {
		if text, err := os.ReadFile(file); err == nil && bytes.HasSuffix(text, []byte("\n")) {
			if p.HostPID != 0 && errors.Is(syscall.Kill(p.HostPID, 0), syscall.ESRCH) {
				return holds("process %s in %s, among processes of its own", bytes.TrimSpace(text), dir)
			}
			return open("process %s; see %s", bytes.TrimSpace(text), dir)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return refused("the daemon did not come up", nil)
}

// daemon is the process that stays, or the one in between. It ends by itself in the end, for a test that loses it.
func daemon(arguments []string) {
	dir := arguments[0]
	if len(arguments) > 1 {
		for _, program := range ownPrograms() {
			attributes := &os.ProcAttr{Sys: &syscall.SysProcAttr{Setpgid: true}}
			if _, err := os.StartProcess(program, []string{program, "-daemon", dir}, attributes); err == nil {
				return
			}
		}
		os.Exit(1)
	}
	listener, err := listenUnix(filepath.Join(dir, "daemon.sock"))
	if err != nil {
		fail(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "daemon.pid"), []byte(fmt.Sprintln(os.Getpid())), 0o600); err != nil {
		fail(err)
	}
	time.Sleep(2 * time.Minute)
	_ = listener.Close()
	_ = os.Remove(filepath.Join(dir, "daemon.pid"))
}

// endDaemon ends the one that an attack of this run has left.
func endDaemon(dir string) {
	file := filepath.Join(dir, "daemon.pid")
	text, err := os.ReadFile(file)
	if err != nil {
		return
	}
	if pid, err := strconv.Atoi(string(bytes.TrimSpace(text))); err == nil && pid > 1 {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_ = os.Remove(file)
	_ = os.Remove(filepath.Join(dir, "daemon.sock"))
}

func addressOf(data []byte) uint64 { return uint64(uintptr(unsafe.Pointer(&data[0]))) }
