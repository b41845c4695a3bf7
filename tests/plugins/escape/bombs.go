package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

var bombAttacks = []attack{
	{id: "36a", name: "fork bomb", run: forkBomb},
	{id: "36b", name: "thread bomb", alone: true, run: threadBomb},
	{id: "37a", name: "descriptor bomb", run: descriptorBomb},
	{id: "37b", name: "raise the limit of descriptors", run: func(*params) result {
		var limit unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			return refused("", err)
		}
		more := unix.Rlimit{Cur: limit.Cur, Max: limit.Max + 1}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &more); err != nil {
			return refused("", err)
		}
		return judge(unix.Setrlimit(unix.RLIMIT_NOFILE, &limit), "above %d", limit.Max)
	}},
	{id: "38a", name: "memory bomb: private", alone: true, run: func(p *params) result { return memoryBomb(p, unix.MAP_PRIVATE) }},
	{id: "38b", name: "memory bomb: shared", alone: true, run: func(p *params) result { return memoryBomb(p, unix.MAP_SHARED) }},
	{id: "38c", name: "memory bomb: TMPDIR", alone: true, run: func(p *params) result { return fileBomb(p, os.TempDir()) }},
	{id: "38d", name: "memory bomb: /dev/shm", alone: true, run: func(p *params) result { return fileBomb(p, "/dev/shm") }},
	{id: "38e", name: "memory bomb: memfd", alone: true, run: memfdBomb},
	{id: "38f", name: "memory bomb: in eight processes", run: manyBombs},
}

// forkBomb starts processes that wait for a pipe to close, and closes it.
func forkBomb(p *params) result {
	var ends [2]int
	if err := syscall.Pipe2(ends[:], syscall.O_CLOEXEC); err != nil {
		return refused("pipe: ", err)
	}
	var children []int
	var errno syscall.Errno
	for len(children) < p.Processes {
		child, failed := pausedChild(ends[0], ends[1])
		if errno = failed; errno != 0 {
			break
		}
		children = append(children, child)
	}
	_ = syscall.Close(ends[0])
	_ = syscall.Close(ends[1])
	for _, child := range children {
		_, _ = syscall.Wait4(child, nil, 0, nil)
	}
	return bomb(len(children), p.Processes, "processes", errno)
}

// bomb judges by how far it came.
func bomb(reached, wanted int, of string, errno syscall.Errno) result {
	if errno == 0 {
		return open("%d %s", reached, of)
	}
	r := holds("%d of %d %s: %v", reached, wanted, of, errno)
	r.Errno = errnoName(errno)
	return r
}

// threadBomb does not come back where a limit is reached: Go ends the process then.
func threadBomb(p *params) result {
	var ready, done sync.WaitGroup
	done.Add(1)
	for range p.Threads {
		ready.Add(1)
		go func() {
			runtime.LockOSThread()
			ready.Done()
			done.Wait()
		}()
	}
	ready.Wait()
	done.Done()
	return open("%d threads", p.Threads)
}

func descriptorBomb(p *params) result {
	var held []int
	var err error
	for len(held) < p.Descriptors && err == nil {
		var fd int
		if fd, err = unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 3); err == nil {
			held = append(held, fd)
		}
	}
	for _, fd := range held {
		_ = unix.Close(fd)
	}
	if err != nil {
		return bomb(len(held), p.Descriptors, "descriptors", errnoOf(err))
	}
	return bomb(len(held), p.Descriptors, "descriptors", 0)
}

const step = 8 << 20

// hold keeps for a while what a bomb got: what is given back within an instant, a watchdog does not see.
func (p *params) hold() {
	held := 300
	if p.HeldMS > 0 {
		held = p.HeldMS
	}
	time.Sleep(time.Duration(held) * time.Millisecond)
}

// progress is what remains to be read when the process is ended.
func progress(bytes int64) { fmt.Fprintf(os.Stderr, "\r%d MiB", bytes>>20) }

func memoryBomb(p *params, kind int) result {
	for taken := int64(0); taken < p.Bytes; taken += step {
		memory, err := unix.Mmap(-1, 0, step, unix.PROT_READ|unix.PROT_WRITE, kind|unix.MAP_ANONYMOUS)
		if err != nil {
			return bomb(int(taken>>20), int(p.Bytes>>20), "MiB", errnoOf(err))
		}
		for i := 0; i < step; i += 4096 {
			memory[i] = byte(i>>12) | 1
		}
		progress(taken)
	}
	p.hold()
	return open("%d MiB", p.Bytes>>20)
}

func fileBomb(p *params, dir string) result {
	file, err := os.OpenFile(filepath.Join(dir, fmt.Sprintf("bomb-%d", os.Getpid())), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return refused("", err)
	}
	defer func() { _ = file.Close() }()
	// What is killed cannot remove it later.
	if err := os.Remove(file.Name()); err != nil {
		return refused("", err)
	}
	return fills(p, file)
}

func memfdBomb(p *params) result {
	fd, err := unix.MemfdCreate("gk-escape", unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
	if err != nil {
		return refused("memfd_create: ", err)
	}
	file := os.NewFile(uintptr(fd), "memfd")
	defer func() { _ = file.Close() }()
	return fills(p, file)
}

func fills(p *params, file *os.File) result {
	block := make([]byte, step)
	for i := range block {
		block[i] = byte(i)
	}
	for taken := int64(0); taken < p.Bytes; taken += step {
		if _, err := file.Write(block); err != nil {
			return bomb(int(taken>>20), int(p.Bytes>>20), "MiB", errnoOf(err))
		}
		progress(taken)
	}
	p.hold()
	return open("%d MiB", p.Bytes>>20)
}

// manyBombs spreads the memory over eight processes, for a limit that counts each alone.
func manyBombs(p *params) result {
	const parts = 8
	share := *p
	share.Bytes, share.call = p.Bytes/parts, nil
	results := make([]result, parts)
	var all sync.WaitGroup
	for i := range results {
		all.Add(1)
		go func() {
			defer all.Done()
			results[i] = inChild("38a", &share)
		}()
	}
	all.Wait()
	for _, r := range results {
		if r.Outcome != opened {
			return r
		}
	}
	return open("%d MiB in %d processes", p.Bytes>>20, parts)
}
