package cli

import (
	"errors"
	"math"

	"github.com/cocker/cocker/config"
)

// sizeFlag is a number of bytes as the files of cocker have it.
type sizeFlag int64

func (f *sizeFlag) Type() string { return "bytes" }

func (f *sizeFlag) String() string {
	if *f == 0 {
		return ""
	}
	return config.FormatSize(uint64(*f))
}

func (f *sizeFlag) Set(text string) error {
	n, err := config.ParseSize(text)
	if err != nil {
		return errors.New(`wanted a size such as "512M" or "20G"`)
	}
	*f = sizeFlag(min(n, math.MaxInt64))
	return nil
}
