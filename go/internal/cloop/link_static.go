//go:build wal_static

package cloop

// #cgo pkg-config: wal-static
import "C"
