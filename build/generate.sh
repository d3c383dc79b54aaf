#!/usr/bin/env bash
# Regenerates all generated Go from its sources. Run by `make generate`; a second run leaves no diff.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
go build -o "$bin/protoc-gen-go" google.golang.org/protobuf/cmd/protoc-gen-go
go build -o "$bin/protoc-gen-go-grpc" google.golang.org/grpc/cmd/protoc-gen-go-grpc
for proto in api/*.proto; do
	PATH="$bin:$PATH" protoc -Iapi --go_out=. --go_opt=module=sonic-netservices \
		--go-grpc_out=. --go-grpc_opt=module=sonic-netservices "$(basename "$proto")"
done
