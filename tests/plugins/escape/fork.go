package main

import (
	"encoding/binary"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func errnoName(errno syscall.Errno) string {
	if errno == 0 {
		return ""
	}
	if name := unix.ErrnoName(errno); name != "" {
		return name
	}
	return errno.Error()
}

// forked runs attempt in a fork of this process and returns what it returned, and how the fork ended where it did not
// come so far.
//
// It is a plain fork of a process with many threads, so attempt may do nothing but system calls by RawSyscall: the
// child has no other thread, and whoever held a lock of the runtime is gone. That suits attempts that may end their
// process, that change what cannot be changed back, or that need a process with one thread.
func forked(attempt func() (uintptr, syscall.Errno)) (value uintptr, errno syscall.Errno, ended string) {
	// What the runtime asks of this thread just before the fork, nobody answers in it: then it hangs.
	for range 5 {
		var hung bool
		if value, errno, ended, hung = forkedOnce(attempt); !hung {
			break
		}
	}
	return value, errno, ended
}

func forkedOnce(attempt func() (uintptr, syscall.Errno)) (value uintptr, errno syscall.Errno, ended string, hung bool) {
	var ends [2]int
	if err := syscall.Pipe2(ends[:], syscall.O_CLOEXEC); err != nil {
		return 0, errnoOf(err), "", false
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	runtime.Gosched()
	deepen(0)
	var answer [16]byte
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if errno == 0 && pid == 0 {
		value, errno := attempt()
		binary.NativeEndian.PutUint64(answer[:8], uint64(value))
		binary.NativeEndian.PutUint64(answer[8:], uint64(errno))
		rawWrite(ends[1], answer[:])
		rawExit(0)
	}
	_ = syscall.Close(ends[1])
	defer func() { _ = syscall.Close(ends[0]) }()
	if errno != 0 {
		return 0, errno, "", false
	}
	var late atomic.Bool
	timer := time.AfterFunc(2*time.Second, func() { late.Store(true); _ = syscall.Kill(int(pid), syscall.SIGKILL) })
	read, _ := syscall.Read(ends[0], answer[:])
	var status syscall.WaitStatus
	for {
		if _, err := syscall.Wait4(int(pid), &status, 0, nil); err != syscall.EINTR {
			break
		}
	}
	timer.Stop()
	if read != len(answer) {
		if status.Signaled() {
			return 0, 0, "signal: " + status.Signal().String(), late.Load()
		}
		return 0, 0, "its process ended without an answer", false
	}
	return uintptr(binary.NativeEndian.Uint64(answer[:8])), syscall.Errno(binary.NativeEndian.Uint64(answer[8:])), "", false
}

// attempt is forked for one system call that is open when it succeeds.
func attempt(what string, call func() (uintptr, syscall.Errno)) result {
	value, errno, ended := forked(call)
	switch {
	case ended != "":
		return result{Outcome: blocked, Detail: ended}
	case errno != 0:
		return denied(what, errno)
	default:
		return open("%s: allowed (%d)", what, int(value))
	}
}

// attemptShort is attempt for calls that are wrong on purpose.
func attemptShort(call func() (uintptr, syscall.Errno), short ...syscall.Errno) result {
	_, errno, ended := forked(call)
	if ended != "" {
		return result{Outcome: blocked, Detail: ended}
	}
	return shortOf(errno, short...)
}

// pausedChild forks a process that does nothing until the pipe's other end is closed everywhere but in it.
func pausedChild(read, write int) (int, syscall.Errno) {
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if errno == 0 && pid == 0 {
		var one [1]byte
		_, _, _ = syscall.RawSyscall(syscall.SYS_CLOSE, uintptr(write), 0, 0)
		rawRead(read, one[:])
		rawExit(0)
	}
	return int(pid), errno
}

// deepen makes the stack large enough beforehand: a fork cannot grow it.
//
//go:noinline
func deepen(depth int) byte {
	var room [4096]byte
	if depth < 8 {
		room[depth] = deepen(depth + 1)
	}
	return room[depth]
}

func errnoOf(err error) syscall.Errno {
	if errno, is := err.(syscall.Errno); is {
		return errno
	}
	if path, is := err.(*os.PathError); is {
		return errnoOf(path.Err)
	}
	if call, is := err.(*os.SyscallError); is {
		return errnoOf(call.Err)
	}
	return syscall.EINVAL
}
