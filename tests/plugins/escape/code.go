package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

var codeAttacks = []attack{
	{id: "31a", name: "run a file it dropped in TMPDIR", run: func(*params) result { return dropIn(os.TempDir()) }},
	{id: "31b", name: "run a file it dropped in its work directory", run: func(p *params) result {
		if p.WorkDir == "" {
			return needs("work_dir")
		}
		return dropIn(p.WorkDir)
	}},
	{id: "31c", name: "run a file it dropped in /dev/shm or /tmp", run: func(*params) result {
		if r := dropIn("/dev/shm"); r.Outcome == opened {
			return r
		}
		return dropIn("/tmp")
	}},
	{id: "31d", name: "run a script it dropped", run: dropScript},
	{id: "31e", name: "run a file it dropped by the dynamic loader", run: dropForLoader},
	{id: "31f", name: "map a file it dropped as code", run: func(*params) result {
		return withDropped(os.TempDir(), answersFortyTwo, func(path string) result {
			file, err := os.Open(path)
			if err != nil {
				return refused("", err)
			}
			defer func() { _ = file.Close() }()
			return mapsAndCalls(int(file.Fd()))
		})
	}},
	{id: "31g", name: "run a file without a name: O_TMPFILE", run: dropNameless},
	{id: "32a", name: "run a memfd", run: func(*params) result { return runsMemfd(0) }},
	{id: "32b", name: "run a memfd that asks to be executable", run: func(*params) result { return runsMemfd(unix.MFD_EXEC) }},
	{id: "32c", name: "run a memfd through /proc", run: memfdByPath},
	{id: "32d", name: "map a memfd as code", run: mapMemfd},
	{id: "33a", name: "memory to write and to run", run: func(*params) result {
		memory, errno := anonymous(unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE)
		if errno != 0 {
			return denied("mmap", errno)
		}
		return runs(memory, true)
	}},
	{id: "33b", name: "memory written, then run", run: func(*params) result {
		memory, errno := anonymous(unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
		if errno != 0 {
			return denied("mmap", errno)
		}
		place(memory)
		if _, errno := call(unix.SYS_MPROTECT, memory, 4096, unix.PROT_READ|unix.PROT_EXEC); errno != 0 {
			return denied("mprotect", errno)
		}
		return runs(memory, false)
	}},
	{id: "33c", name: "code made writable, written, and made code again", run: func(*params) result {
		memory, errno := anonymous(unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
		if errno != 0 {
			return denied("mmap", errno)
		}
		if _, errno := call(unix.SYS_MPROTECT, memory, 4096, unix.PROT_READ|unix.PROT_WRITE); errno != 0 {
			return denied("mprotect", errno)
		}
		place(memory)
		if _, errno := call(unix.SYS_MPROTECT, memory, 4096, unix.PROT_READ|unix.PROT_EXEC); errno != 0 {
			return denied("mprotect back", errno)
		}
		return runs(memory, false)
	}},
	{id: "33d", name: "shared memory to write and to run", run: func(*params) result {
		memory, errno := anonymous(unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_SHARED)
		if errno != 0 {
			return denied("mmap", errno)
		}
		return runs(memory, true)
	}},
	{id: "33e", name: "System V memory to run", run: systemV},
	{id: "33f", name: "written memory made code by pkey_mprotect", run: func(*params) result {
		memory, errno := anonymous(unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
		if errno != 0 {
			return denied("mmap", errno)
		}
		place(memory)
		if _, errno := call(unix.SYS_PKEY_MPROTECT, memory, 4096, unix.PROT_READ|unix.PROT_EXEC, ^uintptr(0)); errno != 0 {
			return denied("pkey_mprotect", errno)
		}
		return runs(memory, false)
	}},
	{id: "34a", name: "open its own executable for writing", run: func(*params) result { return opens("/proc/self/exe", os.O_WRONLY) }},
	{id: "34b", name: "open its own executable for writing, by its name", run: func(p *params) result {
		path, err := ownFile(p)
		if err != nil {
			return refused("", err)
		}
		return opens(path, os.O_WRONLY)
	}},
	{id: "34c", name: "put another file in its executable's place", run: func(p *params) result {
		path, err := ownFile(p)
		if err != nil {
			return refused("", err)
		}
		return replaces(path)
	}},
	{id: "34d", name: "change its executable's mode", run: func(p *params) result {
		path, err := ownFile(p)
		if err != nil {
			return refused("", err)
		}
		info, err := os.Stat(path)
		if err != nil {
			return refused("", err)
		}
		return judge(os.Chmod(path, info.Mode().Perm()), "chmod of %s", path)
	}},
	{id: "34e", name: "say that another file is its executable", run: func(*params) result {
		return attemptShort(func() (uintptr, syscall.Errno) {
			return call(unix.SYS_PRCTL, unix.PR_SET_MM, unix.PR_SET_MM_EXE_FILE, ^uintptr(0))
		}, syscall.EBADF)
	}},
	{id: "35", name: "inherited descriptors", run: inherited},
	{id: "40a", name: "put another manifest in place", run: func(p *params) result {
		if p.PluginDir == "" {
			return needs("plugin_dir: run this as a plugin")
		}
		return replaces(filepath.Join(p.PluginDir, "plugin.yaml"))
	}},
	{id: "40b", name: "plant a signature beside its executable", run: func(p *params) result {
		if p.PluginDir == "" {
			return needs("plugin_dir: run this as a plugin")
		}
		return plants(p.PluginDir)
	}},
}

// withDropped writes an executable file for an attack, and removes it.
func withDropped(dir string, content []byte, attack func(string) result) result {
	if content == nil {
		return absent("its code is for another processor")
	}
	path := filepath.Join(dir, fmt.Sprintf("dropped-%d", os.Getpid()))
	if err := os.WriteFile(path, content, 0o700); err != nil {
		return refused("write: ", err)
	}
	defer func() { _ = os.Remove(path) }()
	// The umask may have taken a bit away.
	if err := os.Chmod(path, 0o700); err != nil {
		return refused("chmod: ", err)
	}
	return attack(path)
}

// starts runs a program and expects what it prints.
func starts(program string, arguments ...string) result {
	output, err := exec.Command(program, arguments...).Output()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		return refused("", err)
	}
	if strings.HasPrefix(string(output), "dropped") {
		return open("%s ran", program)
	}
	return refused(fmt.Sprintf("it prints %q: ", output), err)
}

func dropIn(dir string) result {
	return withDropped(dir, dropped, func(path string) result { return starts(path) })
}

func dropScript(*params) result {
	return withDropped(os.TempDir(), []byte("#!/bin/sh\necho dropped\n"), func(path string) result { return starts(path) })
}

func dropForLoader(*params) result {
	loaders, _ := filepath.Glob("/lib*/ld-linux*.so.*")
	if len(loaders) == 0 {
		return refused("no loader is to be seen", nil)
	}
	echo, err := os.ReadFile("/bin/echo")
	if err != nil {
		return refused("", err)
	}
	return withDropped(os.TempDir(), echo, func(path string) result { return starts(loaders[0], path, "dropped") })
}

func dropNameless(*params) result {
	if dropped == nil {
		return absent("its code is for another processor")
	}
	fd, err := unix.Open(os.TempDir(), unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o700)
	if err != nil {
		return refused("", err)
	}
	defer func() { _ = unix.Close(fd) }()
	if _, err := unix.Write(fd, dropped); err != nil {
		return refused("", err)
	}
	// A file that is open for writing does not run; its other descriptor is.
	again, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return refused("", err)
	}
	defer func() { _ = unix.Close(again) }()
	_ = unix.Close(fd)
	return runsDescriptor(again)
}

// runsDescriptor executes what a descriptor is open on, in a fork, and judges by how that ends.
func runsDescriptor(fd int) result {
	null, err := unix.Open("/dev/null", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		null = -1
	}
	empty, arguments, environment := text(""), at(&[2]uintptr{text("dropped"), 0}), at(&[1]uintptr{0})
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if errno == 0 && pid == 0 {
		// Its greeting would be taken for this program's own.
		if null >= 0 {
			_, _ = call(unix.SYS_DUP3, uintptr(null), 1, 0)
		}
		_, errno := call(unix.SYS_EXECVEAT, uintptr(fd), empty, arguments, environment, unix.AT_EMPTY_PATH)
		rawExit(100 + int(errno))
	}
	if null >= 0 {
		_ = unix.Close(null)
	}
	if errno != 0 {
		return denied("fork", errno)
	}
	var ended syscall.WaitStatus
	if _, err := syscall.Wait4(int(pid), &ended, 0, nil); err != nil {
		return refused("wait: ", err)
	}
	switch {
	case ended.Signaled():
		return refused("signal: "+ended.Signal().String(), nil)
	case ended.ExitStatus() == 42:
		return open("it ran")
	default:
		return denied("execveat", syscall.Errno(ended.ExitStatus()-100))
	}
}

func memfd(flags int, content []byte) (int, error) {
	fd, err := unix.MemfdCreate("gk-escape", flags)
	if err != nil {
		return -1, err
	}
	if _, err := unix.Write(fd, content); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func runsMemfd(flags int) result {
	if dropped == nil {
		return absent("its code is for another processor")
	}
	fd, err := memfd(unix.MFD_CLOEXEC|flags, dropped)
	if err != nil {
		return refused("memfd_create: ", err)
	}
	defer func() { _ = unix.Close(fd) }()
	// As one that asks for no execution may try.
	_ = unix.Fchmod(fd, 0o700)
	return runsDescriptor(fd)
}

func memfdByPath(*params) result {
	if dropped == nil {
		return absent("its code is for another processor")
	}
	fd, err := memfd(0, dropped)
	if err != nil {
		return refused("memfd_create: ", err)
	}
	defer func() { _ = unix.Close(fd) }()
	return starts(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd))
}

// mapMemfd tries a memfd of every kind: one that may not be executed may perhaps be mapped as code.
func mapMemfd(*params) result {
	if answersFortyTwo == nil {
		return absent("its code is for another processor")
	}
	var r result
	for _, flags := range []int{0, unix.MFD_EXEC, unix.MFD_NOEXEC_SEAL} {
		fd, err := memfd(unix.MFD_CLOEXEC|flags, answersFortyTwo)
		if err != nil {
			r = refused("memfd_create: ", err)
			continue
		}
		r = mapsAndCalls(fd)
		_ = unix.Close(fd)
		if r.Outcome == opened {
			r.Detail = fmt.Sprintf("with flags %#x: %s", flags, r.Detail)
			return r
		}
	}
	return r
}

func mapsAndCalls(fd int) result {
	memory, errno := call(unix.SYS_MMAP, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE, uintptr(fd), 0)
	if errno != 0 {
		return denied("mmap", errno)
	}
	return runs(memory, false)
}

func anonymous(protection, flags uintptr) (uintptr, syscall.Errno) {
	return call(unix.SYS_MMAP, 0, 4096, protection, flags|unix.MAP_ANONYMOUS, ^uintptr(0), 0)
}

// pointer is the memory at an address that the kernel has given, which no Go object is at.
func pointer(memory uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&memory)) }

func place(memory uintptr) {
	copy(unsafe.Slice((*byte)(pointer(memory)), 4096), answersFortyTwo)
}

// runs calls the code at an address, in a fork.
func runs(memory uintptr, write bool) result {
	if answersFortyTwo == nil {
		return absent("its code is for another processor")
	}
	if write {
		place(memory)
	}
	// A function value is the address of a place with the address of the code.
	code := &memory
	function := *(*func() int)(unsafe.Pointer(&code))
	value, _, ended := forked(func() (uintptr, syscall.Errno) { return uintptr(function()), 0 })
	_, _ = call(unix.SYS_MUNMAP, memory, 4096)
	switch {
	case ended != "":
		return result{Outcome: blocked, Detail: ended}
	case value == 42:
		return open("its code ran")
	default:
		return holds("its code answers %d", value)
	}
}

func systemV(*params) result {
	const execute = 0o100000
	id, errno := call(unix.SYS_SHMGET, 0, 4096, 0o1700)
	if errno != 0 {
		return denied("shmget", errno)
	}
	defer func() { _, _ = call(unix.SYS_SHMCTL, id, unix.IPC_RMID, 0) }()
	memory, errno := call(unix.SYS_SHMAT, id, 0, execute)
	if errno != 0 {
		return denied("shmat", errno)
	}
	return runs(memory, true)
}

// ownFile is where this program's file is: beside its manifest, where it is a plugin.
func ownFile(p *params) (string, error) {
	if p.PluginDir != "" {
		path := filepath.Join(p.PluginDir, filepath.Base(os.Args[0]))
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return os.Executable()
}

// replaces puts a file into its own place: whoever may do that may put another one there.
func replaces(path string) result {
	content, err := os.ReadFile(path)
	if err != nil {
		return refused("", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return refused("", err)
	}
	copied := path + ".gk-escape"
	if err := os.WriteFile(copied, content, info.Mode().Perm()); err != nil {
		return refused("write beside it: ", err)
	}
	defer func() { _ = os.Remove(copied) }()
	return judge(os.Rename(copied, path), "%s was replaced", path)
}

// atStart is what was open when this program began, before it opened anything itself.
var atStart = func() []string {
	var found []string
	for fd := 3; fd < 1024; fd++ {
		if _, errno := call(unix.SYS_FCNTL, uintptr(fd), unix.F_GETFD); errno != 0 {
			continue
		}
		name := make([]byte, 256)
		n, err := unix.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd), name)
		if err != nil {
			n = copy(name, "?")
		}
		// What Go's runtime has for itself.
		if what := string(name[:n]); what != "anon_inode:[eventpoll]" && what != "anon_inode:[eventfd]" {
			found = append(found, fmt.Sprintf("%d: %s", fd, what))
		}
	}
	return found
}()

func inherited(*params) result {
	if len(atStart) == 0 {
		return refused("there were none but 0, 1 and 2", nil)
	}
	return open("%s", strings.Join(atStart, ", "))
}
