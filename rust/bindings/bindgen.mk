# SPDX-License-Identifier: GPL-2.0
#
# bindgen for an out-of-tree tree: the kernel's own parameters and flag filter
# (rust/Makefile), our own header and list of names.

# Flags of GCC that libclang refuses: read from the kernel's own list, so that a new
# kernel brings its new flags along.
bindgen-skip := $(shell sed -n '/^bindgen_skip_c_flags := /,/[^\\]$$/p' $(srctree)/rust/Makefile | \
		  sed -e 's/^bindgen_skip_c_flags := //' -e 's/\\$$//' | tr '\n' ' ')

# Through $(shell), because the kernel's file quotes its arguments for a shell. Without the
# attributes that name enums for CFI: they need a compiler feature that modules aren't allowed, and
# no function of ours is called through a pointer with such a type.
bindgen-kernel-flags = $(shell grep -Ev '^\#|^$$|^--with-attribute-custom-enum=' \
			 $(srctree)/rust/bindgen_parameters)
bindgen-our-flags = $(shell grep -Ev '^\#|^$$' $(src)/rust/bindings/parameters)

quiet_cmd_hv_bindgen = BINDGEN $@
      cmd_hv_bindgen = \
	$(BINDGEN) $< $(bindgen-kernel-flags) $(bindgen-our-flags) \
		--rust-target 1.85 --use-core --with-derive-default --ctypes-prefix ffi \
		--no-layout-tests --no-debug '.*' --enable-function-attribute-detection \
		-o $@ -- $(filter-out $(bindgen-skip),$(c_flags)) \
		-w --target=x86_64-linux-gnu -fno-builtin -D__BINDGEN__ -DMODULE && \
	sed -Ei -e 's/pub const RUST_CONST_HELPER_([a-zA-Z0-9_]*)/pub const \1/g' \
		-e 's/pub fn hv_helper_([a-zA-Z0-9_]*)/\#[link_name = "hv_helper_\1"]\n    pub fn \1/g' $@

$(obj)/rust/bindings/bindings_generated.rs: $(src)/rust/bindings/bindings_helper.h \
    $(src)/rust/bindings/parameters $(wildcard $(src)/rust/helpers/*.c) $(wildcard $(src)/rust/net/*.[ch]) \
    $(src)/rust/scsi/helpers.c FORCE
	$(call if_changed_dep,hv_bindgen)
