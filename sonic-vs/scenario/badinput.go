package scenario

import "context"

func badInput(ctx context.Context, s *stage) error { return nil }
func refuse(ctx context.Context, s *stage) error   { return nil }
