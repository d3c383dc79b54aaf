package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"sonic-netservices/api"
)

// chunk is the size of the pieces in which a stream of bytes is sent.
const chunk = 256 << 10

func (c *cli) image() *cobra.Command {
	cmd := &cobra.Command{Use: "image", Short: "Container images"}
	cmd.AddCommand(&cobra.Command{
		Use:   "load FILE",
		Short: "Give the manager an image, as docker save wrote it",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := os.Open(args[0])
			if err != nil {
				return refused(err)
			}
			defer file.Close()
			manager, err := c.connect()
			if err != nil {
				return err
			}
			stream, err := manager.LoadImage(cmd.Context())
			if err != nil {
				return err
			}
			for buffer := make([]byte, chunk); ; {
				n, err := io.ReadFull(file, buffer)
				if n > 0 && stream.Send(&api.Chunk{Data: buffer[:n]}) != nil {
					break // the answer tells why
				}
				if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
					break
				}
				if err != nil {
					return err
				}
			}
			image, err := stream.CloseAndRecv()
			if err != nil {
				return err
			}
			if c.json {
				return c.printJSON(map[string]any{"name": image.Name, "id": image.Id, "bytes": image.Bytes})
			}
			fmt.Fprintf(c.stdout, "%s  %s  %s\n", image.Name, image.Id, size(image.Bytes))
			return nil
		},
	})
	return cmd
}
