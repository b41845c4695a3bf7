package main

import "syscall"

// x32Getpid asks by the calling convention of 32-bit pointers on 64-bit registers.
var x32Getpid = func() (int, bool) {
	pid, _, errno := syscall.RawSyscall(0x40000000|39, 0, 0, 0)
	if errno != 0 {
		return -int(errno), true
	}
	return int(pid), true
}

// i386Getpid asks as a 32-bit program does.
var i386Getpid = func() (int, bool) { return int(int80(20)), true }

// int80 is the system call of a 32-bit program.
func int80(number uint32) int32

// answersFortyTwo is a function: mov eax, 42; ret.
var answersFortyTwo = []byte{0xb8, 42, 0, 0, 0, 0xc3}

// dropped is a whole program that prints "dropped" and exits with 42.
var dropped = []byte{
	0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, // e_ident
	2, 0, 62, 0, 1, 0, 0, 0, // an executable for x86-64
	0x78, 0, 0x40, 0, 0, 0, 0, 0, // e_entry: after the headers
	64, 0, 0, 0, 0, 0, 0, 0, // e_phoff
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0, // no sections, one segment
	1, 0, 0, 0, 5, 0, 0, 0, // PT_LOAD, readable and executable
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, // at 0x400000
	0xa8, 0, 0, 0, 0, 0, 0, 0, 0xa8, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, // all 168 bytes
	0xb8, 1, 0, 0, 0, 0xbf, 1, 0, 0, 0, 0xbe, 0xa0, 0, 0x40, 0, 0xba, 8, 0, 0, 0, 0x0f, 0x05, // write(1, 0x4000a0, 8)
	0xb8, 60, 0, 0, 0, 0xbf, 42, 0, 0, 0, 0x0f, 0x05, // exit(42)
	0, 0, 0, 0, 0, 0,
	'd', 'r', 'o', 'p', 'p', 'e', 'd', '\n',
}
