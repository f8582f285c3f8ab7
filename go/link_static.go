//go:build wal_static

package wal

// #cgo pkg-config: wal-static
import "C"
