//go:build !amd64

package main

// Other processors have one calling convention, and the code of these attacks is for one processor.
var (
	x32Getpid, i386Getpid func() (int, bool)
	answersFortyTwo       []byte
	dropped               []byte
)
