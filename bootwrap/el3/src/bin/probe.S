// The probe's first instructions: an arm64 Image header, then a stack for each CPU. From Rust: {stack}, {cpus}.

.section .text.start, "ax"
.global _start
_start:
    b       first
    nop
    .quad   0                       // text_offset
    .quad   image_size              // image_size
    .quad   0xa                     // 4 KiB pages, anywhere in memory
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .word   0

// x0 = device tree; x1 to x3 must be zero, and Rust looks at them.
first:
    mov     x19, xzr
    b       own_stack
// x0 = context of CPU_ON; its low byte is the CPU's number.
.global secondary
secondary:
    and     x19, x0, #0xff
own_stack:
    adrp    x4, stacks
    add     x4, x4, :lo12:stacks
    mov     x5, #{stack}
    madd    x4, x19, x5, x4
    add     sp, x4, x5
    mov     x4, x19
    bl      probe_main

.section .stacks, "aw", %nobits
.balign 16
stacks:
    .skip   {stack} * {cpus}
