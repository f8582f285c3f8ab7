module wal

go 1.24
