# Targets for people:  demo  test  test-full  bench  setup  clean-testbed
generate:
	build/generate.sh
