// The first instructions: who am I, where is my stack; then Rust. Also the EL3 vectors and the way down.
// From Rust come the block's size and the offsets of its fields, the size of a stack, and the bits of MPIDR_EL1 that name a CPU.

.section .text.start, "ax"
.global _start
_start:
    b       begin
    .balign 64
.global parameters
parameters:
    .quad   {magic}
    .word   {version}
    .word   {size}
    .skip   {size} - 16

begin:
    msr     daifset, #0xf
    mrs     x20, mpidr_el1
    mov     x0, #{affinity_low}
    movk    x0, #{affinity_high}, lsl #32
    and     x20, x20, x0
    adr     x21, parameters
    // Which of the board's CPUs is this?
    ldr     w22, [x21, #{cpu_count}]
    add     x1, x21, #{cpus}
    mov     x19, #0
1:  cmp     x19, x22
    b.hs    unknown_cpu
    ldr     x2, [x1, x19, lsl #3]
    cmp     x2, x20
    b.eq    2f
    add     x19, x19, #1
    b       1b
2:  msr     spsel, #1
    bl      own_stack
    mov     x0, x19
    mrs     x1, CurrentEL
    lsr     x1, x1, #2
    bl      stub_main

// In: x19, the CPU's number. Sets its stack; changes x0, x1.
own_stack:
    adrp    x0, stacks
    add     x0, x0, :lo12:stacks
    mov     x1, #{stack}
    madd    x0, x19, x1, x0
    add     sp, x0, x1
    ret

// Not in the device tree, hence without a stack. Only a CPU that looks like the one that boots complains.
unknown_cpu:
    cbnz    x20, 3f
    ldr     x0, [x21, #{uart}]
    cbz     x0, 3f
    adr     x1, 4f
2:  ldrb    w2, [x1], #1
    cbz     w2, 3f
    str     w2, [x0]
    b       2b
3:  wfe
    b       3b
4:  .asciz  "bootwrap: this CPU is not in the device tree\r\n"
    .balign 4

// fn down(entry, x0, spsr) -> !: enters EL2 with x0 = argument, all else zero.
.global down
down:
    msr     elr_el3, x0
    msr     spsr_el3, x2
    mov     x0, x1
    bl      forget
    mov     x16, xzr
    mov     x30, xzr
    dsb     sy
    isb
    eret

// fn on(entry, x0) -> !: goes on at the level this is.
.global on
on:
    mov     x16, x0
    mov     x0, x1
    bl      forget
    mov     x30, xzr
    br      x16

forget:
    .irp n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,17,18,19,20,21,22,23,24,25,26,27,28,29
    mov     x\n, xzr
    .endr
    ret

// fn park_anew(index) -> !: drops what is on this CPU's stack and waits to be switched on.
.global park_anew
park_anew:
    mov     x19, x0
    bl      own_stack
    mov     x0, x19
    b       park

// Where secondary CPUs spin at EL2 when the board asks for a spin table. x0: the word to watch.
.global spin
spin:
    wfe
    ldr     x16, [x0]
    cbz     x16, spin
    mov     x0, xzr
    br      x16

.macro entry label
    .balign 128
    b       \label
.endm

// A vector that nobody should reach: x0 = ESR, x1 = ELR, x2 = which.
.macro wrong number
    .balign 128
    mov     x2, #\number
    b       wrong_common
.endm

.section .vectors, "ax"
.balign 2048
.global vectors
vectors:
    .irp n, 0,1,2,3,4,5,6,7
    wrong   \n
    .endr
    entry   lower
    .irp n, 9,10,11
    wrong   \n
    .endr
    entry   lower
    .irp n, 13,14,15
    wrong   \n
    .endr
    .balign 128

wrong_common:
    mrs     x0, esr_el3
    mrs     x1, elr_el3
    bl      wrong_vector

// Synchronous, from below: keeps what Rust may change, and x0..x3 as the call's arguments and result.
lower:
    sub     sp, sp, #176
    stp     x0, x1, [sp]
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x29, [sp, #144]
    str     x30, [sp, #160]
    mov     x0, sp
    mrs     x1, esr_el3
    bl      lower_sync
    ldr     x30, [sp, #160]
    ldp     x18, x29, [sp, #144]
    ldp     x16, x17, [sp, #128]
    ldp     x14, x15, [sp, #112]
    ldp     x12, x13, [sp, #96]
    ldp     x10, x11, [sp, #80]
    ldp     x8, x9, [sp, #64]
    ldp     x6, x7, [sp, #48]
    ldp     x4, x5, [sp, #32]
    ldp     x2, x3, [sp, #16]
    ldp     x0, x1, [sp]
    add     sp, sp, #176
    eret

.section .stacks, "aw", %nobits
.balign 16
stacks:
    .skip   {stack} * {cpus_max}
