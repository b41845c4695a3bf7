package main

import (
	"syscall"
	"unsafe"
)

//go:nosplit
func rawWrite(fd int, data []byte) {
	_, _, _ = syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(data))), uintptr(len(data)))
}

//go:nosplit
func rawRead(fd int, data []byte) {
	_, _, _ = syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(data))), uintptr(len(data)))
}

//go:nosplit
func rawExit(code int) {
	for {
		_, _, _ = syscall.RawSyscall(syscall.SYS_EXIT_GROUP, uintptr(code), 0, 0)
	}
}

// call is a raw system call.
func call(number uintptr, arguments ...uintptr) (uintptr, syscall.Errno) {
	var a [6]uintptr
	copy(a[:], arguments)
	value, _, errno := syscall.RawSyscall6(number, a[0], a[1], a[2], a[3], a[4], a[5])
	return value, errno
}

// text is a string for a system call.
func text(s string) uintptr {
	bytes := append([]byte(s), 0)
	kept = append(kept, bytes)
	return uintptr(unsafe.Pointer(&bytes[0]))
}

// at is the address of a value that stays where it is.
func at[T any](value *T) uintptr {
	kept = append(kept, value)
	return uintptr(unsafe.Pointer(value))
}

// kept is everything that the kernel was told the address of: it must stay, and on the heap it does not move.
var kept []any
