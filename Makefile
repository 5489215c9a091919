# The door: one line per wish. `make run` is the tutorial, `make check` goes before a push, `make test` is what CI runs.

RECIPE   ?= recipes/tutorial.toml
XENBUILD := target/release/xenbuild
TARGET   := aarch64-unknown-none-softfloat

# What `make run` needs of Debian, and what the tests need besides: strangers that look at our bytes.
RUN_PACKAGES  := qemu-system-arm gcc libc6-dev
# What compiling Linux and Xen needs.
SOURCE_PACKAGES := gcc-aarch64-linux-gnu make gcc libc6-dev flex bison bc perl libssl-dev libelf-dev git patch python3
TEST_PACKAGES := $(RUN_PACKAGES) e2fsprogs device-tree-compiler cpio kmod binutils xz-utils zstd bzip2 make python3 faketime $(SOURCE_PACKAGES) \
  mtools dosfstools gdisk fdisk bmap-tools util-linux mount libxen-dev u-boot-tools u-boot-qemu openssl

.PHONY: run test check hypervisor conformance bench clean setup-bench setup-conformance setup-run setup-test setup-bare xenbuild

run: setup-run xenbuild           ## build the tutorial's image and boot it; without a terminal, run its test
	$(XENBUILD) run $(RECIPE)

test: setup-test                  ## every test but the long matrix, then the tutorial both ways, and both hypervisors
	cargo test --locked
	RUSTC_WORKSPACE_WRAPPER=$(CURDIR)/hypervisor/fuzz/instrument LLVM_PROFILE_FILE=$(CURDIR)/target/edges.profraw \
	  cargo test --locked -p hypervisor --test fuzz -- --ignored --exact edges_are_counted --nocapture
	target/debug/xenbuild test recipes/tutorial.toml
	XENBUILD_KERNEL=$(CURDIR)/out/tutorial/Image cargo test --locked --test counters
	target/debug/xenbuild test recipes/tutorial-el3.toml
	target/debug/xenbuild test recipes/tutorial.toml --variant integrated
	target/debug/xenbuild test recipes/u-boot.toml
	target/debug/xenbuild test recipes/u-boot.toml --variant fit
	target/debug/xenbuild test tests/data/hypervisor/dom0.toml --variant el3
	target/debug/xenbuild test tests/data/hypervisor/dom0.toml --variant gicv2
	target/debug/xenbuild test tests/data/hypervisor/dom0.toml --variant gicv2-el3
	target/debug/xenbuild test tests/data/hypervisor/hotplug.toml --variant four-on-two
	target/debug/xenbuild test tests/data/source/tiny.toml
	XENBUILD_COMPILED=$(CURDIR)/out/tiny cargo test --locked --test image what_a_kernel_leaves -- --include-ignored

check: setup-bare                 ## format, lints with warnings denied on host and bare-metal code, docs, tidy
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked -p bootwrap-el3 -p hypervisor -p test-guest --target $(TARGET) --profile bare -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items
	cargo test --locked --test tidy

# Inputs of the matrix: Linux's device-tree sources, and the packages and the kernel of the tutorial.
INPUTS := $(CURDIR)/out/conformance
MATRIX := gicv2 one-cpu four-cpus cortex-a53 cortex-a72

conformance: setup-conformance xenbuild   ## the full matrix, with every oracle: hours
	$(XENBUILD) image recipes/tutorial.toml
	rm -rf $(INPUTS) && mkdir -p $(INPUTS)/debs $(INPUTS)/kernel
	cd $(INPUTS) && apt-get download linux-source-6.1 && dpkg-deb --fsys-tarfile linux-source-*.deb \
	  | tar -xO ./usr/src/linux-source-6.1.tar.xz | tar -xJ --strip-components=1 --one-top-level=linux \
	    --wildcards '*/arch/arm*/boot/dts' '*/include/dt-bindings' '*/include/uapi/linux/input-event-codes.h' '*/scripts/dtc/include-prefixes'
	n=0; for deb in out/cache/*/package.deb; do n=$$((n + 1)); ln "$$deb" $(INPUTS)/debs/$$n.deb; \
	  case $$(dpkg-deb -f "$$deb" Package) in linux-image-*[0-9]*) dpkg-deb -x "$$deb" $(INPUTS)/kernel ;; esac; done
	XENBUILD_LINUX_SOURCE=$(INPUTS)/linux XENBUILD_KERNEL=$(CURDIR)/out/tutorial/Image DEB_FOLDER=$(INPUTS)/debs \
	MODULES_ROOT=$(INPUTS)/kernel XENBUILD_XEN=$(CURDIR)/out/tutorial/xen cargo test --locked --release -- --include-ignored
	set -e; for variant in $(MATRIX); do for recipe in tutorial tutorial-el3; do \
	  $(XENBUILD) test recipes/$$recipe.toml --variant $$variant; done; done
	set -e; for variant in one-cpu four-cpus gicv2-four-cpus eight-cpus 512-MiB 8-GiB cortex-a53 cortex-a72 max panic; do \
	  $(XENBUILD) test tests/data/hypervisor/dom0.toml --variant $$variant; done
	$(XENBUILD) test tests/data/hypervisor/hotplug.toml
	set -e; for variant in four-cpus gicv2; do $(XENBUILD) test tests/data/hypervisor/hotplug.toml --variant $$variant; done
	$(XENBUILD) test recipes/u-boot.toml --variant firmware-tree
	$(XENBUILD) test recipes/zcu102.toml --variant qemu
	$(XENBUILD) test recipes/from-source.toml
	! grep -l '$(CURDIR)' out/from-source/Image out/from-source/xen out/from-source/xen-syms
	$(XENBUILD) test recipes/from-source.toml --variant defconfig
	XENBUILD_COMPILED='$(CURDIR)/out/from-source@defconfig' \
	  cargo test --locked --release --test image what_a_kernel_leaves -- --include-ignored

bench: setup-bench xenbuild       ## beside the tools a user would pick instead: ratios, in one run
	$(XENBUILD) image $(RECIPE)
	cargo build --locked --release -p imagegen --example mkext
	XENBUILD_BENCH_IMAGE=$(CURDIR)/out/tutorial/rootfs.img cargo bench --locked -p imagegen --bench ext
	cargo bench --locked -p imagegen --bench fat
	cargo bench --locked --bench flash
	XENBUILD_XEN=$(CURDIR)/out/tutorial/xen XENBUILD_KERNEL=$(CURDIR)/out/tutorial/Image cargo bench --locked --bench exits

# The image, flat, as a loader wants it, and its ELF, which knows the names of addresses.
BARE := target/$(TARGET)/bare/hypervisor
hypervisor: setup-bare            ## the hypervisor itself: out/hypervisor/hypervisor.bin and .elf
	RUSTFLAGS=-Cforce-frame-pointers=yes cargo build --locked -p hypervisor --target $(TARGET) --profile bare
	mkdir -p out/hypervisor
	cp $(BARE) out/hypervisor/hypervisor.elf
	objcopy -I elf64-little -O binary $(BARE) out/hypervisor/hypervisor.bin

clean:
	rm -rf out target

xenbuild: setup-bare
	cargo build --locked --release

# The bare-metal target: rustup's where it can be had, else Debian's compiler with its own sources (build.rs finds out).
setup-bare:
	@[ -d "$$(rustc --print sysroot)/lib/rustlib/$(TARGET)" ] \
	  || { command -v rustup >/dev/null && rustup target add $(TARGET); } \
	  || { $(call install,rustc-web rust-web-src lld-22); }

setup-run:
	@$(call install,$(RUN_PACKAGES))

setup-bench:
	@$(call install,$(RUN_PACKAGES) e2fsprogs genext2fs dosfstools mtools bmap-tools util-linux time)

setup-conformance:
	@$(call install,$(TEST_PACKAGES) gcc cpp gpg qemu-utils)

setup-test:
	@$(call install,$(TEST_PACKAGES))

# Installs those of the packages $(1) that are missing, where there is apt and root; else says what to type.
define install
missing=""; for package in $(1); do \
  [ "$$(dpkg-query -W -f='$${db:Status-Status}' "$$package" 2>/dev/null)" = installed ] || missing="$$missing $$package"; \
done; \
if [ -z "$$missing" ]; then :; \
elif ! command -v apt-get >/dev/null; then echo "note: not a Debian system: needs what Debian calls$$missing" >&2; \
elif [ "$$(id -u)" = 0 ]; then \
  apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing; \
else echo "error: missing packages; type: sudo apt-get install --no-install-recommends$$missing" >&2; exit 1; fi
endef
