# make demo and make test are the two commands: on a bare Debian 12 with git and root, each installs what it
# needs, builds, and runs.
.PHONY: build demo test bench check tidy format clean deps

export CCACHE_NOHASHDIR := 1

build: deps
	cmake --preset release
	cmake --build --preset release

demo: deps
	cmake --preset release
	cmake --build --preset release --target fairlead fairlead-proxy fairlead-demo
	build/bin/fairlead-demo

test: deps
	scripts/test

bench: build
	scripts/bench

# What needs no build: layers, formatting, sizes.
check: deps
	scripts/check

tidy: build
	git ls-files 'base/*.cc' 'dataplane/*.cc' 'nftables/*.cc' 'bpf/*.cc' 'control/*.cc' 'proxy/*.cc' | \
	  xargs -n 8 -P 2 clang-tidy-14 -p build --quiet

format: deps
	git ls-files '*.cc' '*.h' | xargs clang-format-14 -i

deps:
	scripts/install-deps.sh

clean:
	rm -rf build build-*
