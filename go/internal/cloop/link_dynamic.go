//go:build !wal_static

package cloop

// #cgo pkg-config: wal
import "C"
