package vswitch

import (
	_ "embed"
	"os"
	"path/filepath"

	"sonic-netservices/internal/sonicdb"
)

// The layout is a switch's: same names, numbers and separators; RESOUR_DB is not listed, as on a stock switch.
//
//go:embed database_config.json
var layout []byte

const redisSocket = "/var/run/redis/redis.sock"

// writeLayout puts database_config.json where every feature container finds it through its redis mount.
func writeLayout() error {
	if err := os.MkdirAll(filepath.Dir(sonicdb.ConfigFile), 0o755); err != nil {
		return err
	}
	return os.WriteFile(sonicdb.ConfigFile, layout, 0o644)
}

// redisServer is the database container of a switch: no persistence, keyspace events on, a socket and loopback TCP.
func redisServer() process {
	return process{
		name: "redis-server",
		argv: []string{"redis-server", "--bind", "127.0.0.1", "--port", "6379",
			"--unixsocket", redisSocket, "--unixsocketperm", "777",
			"--databases", "100", "--notify-keyspace-events", "AKE", "--save", "", "--appendonly", "no",
			"--dir", filepath.Dir(redisSocket)},
	}
}
