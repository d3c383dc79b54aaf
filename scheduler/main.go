// Scheduler decides where things go, by the strategies of plan. Today it runs the papers' experiments again, and solves
// single problems that people wrote down.
//
// It reads problem and topology files and writes tables on standard output, progress on standard error, CSV, drawings and
// bench figures into out/. Exit codes: 0 done, 1 failed or a gate does not hold, 2 refused input.
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
