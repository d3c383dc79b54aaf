// Nsctl is the operator's command line: it loads images, deploys, moves and removes services, drains nodes, makes
// certificates, and shows the nodes, the trees that decide, and why they decided so.
//
// It reads a small file that says where bt-manager is, and speaks to it alone. Standard output carries the answer and
// nothing else; progress and errors go to standard error. Exit codes: 0 done, 1 failed, 2 refused input or order.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run executes one command line and gives the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	c := &cli{stdout: stdout, stderr: stderr}
	root := c.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprint(stderr, message(err))
	}
	return c.code(err)
}
