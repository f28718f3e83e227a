package main

import "golang.org/x/sys/unix"

func ioperm() error { return unix.ENODEV }
