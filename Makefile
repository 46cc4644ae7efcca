.PHONY: demo test up fmt lint types bench
demo:; ./dev demo
test:; ./dev test
up:; ./dev up
fmt:; ./dev fmt
lint:; ./dev lint
types:; ./dev lint types
bench:; ./dev bench
