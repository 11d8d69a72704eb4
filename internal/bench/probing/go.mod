module github.com/l2ping/l2ping/internal/bench/probing

go 1.26.0

require github.com/prometheus-community/pro-bing v0.9.1

require (
	github.com/google/uuid v1.6.0 // indirect
	golang.org/x/net v0.56.0 // indirect
	golang.org/x/sync v0.21.0 // indirect
	golang.org/x/sys v0.46.0 // indirect
)
