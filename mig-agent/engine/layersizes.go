package engine

import "context"

// Root is the folder of everything dockerd keeps: images and writable layers.
func (d *Docker) Root() string { return d.root }

// LayerSizes are the unpacked bytes of an image's layers, in the order of Layers. Docker tells them by the steps that made
// them; where it does not, the whole image's size stands in the topmost.
func (d *Docker) LayerSizes(ctx context.Context, ref string) ([]int64, error) {
	in, err := d.cli.ImageInspect(ctx, ref)
	if err != nil {
		return nil, wrap("inspect image "+ref, err)
	}
	steps, err := d.cli.ImageHistory(ctx, ref)
	if err != nil {
		return nil, wrap("history of image "+ref, err)
	}
	newestFirst := make([]int64, len(steps))
	for i, s := range steps {
		newestFirst[i] = s.Size
	}
	return layerSizes(len(in.RootFS.Layers), newestFirst, in.Size), nil
}

// layerSizes: a step that changed no file made no layer.
func layerSizes(layers int, newestFirst []int64, whole int64) []int64 {
	var filled []int64
	for i := len(newestFirst) - 1; i >= 0; i-- {
		if newestFirst[i] > 0 {
			filled = append(filled, newestFirst[i])
		}
	}
	if len(filled) == layers {
		return filled
	}
	sizes := make([]int64, layers)
	if layers > 0 {
		sizes[layers-1] = whole
	}
	return sizes
}
