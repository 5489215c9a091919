// From the loader to Rust: the arm64 Image header, page tables, the MMU; and the way into exception handlers and back.
//
// Entered at EL1 with MMU and data cache off, x0 = physical address of the device tree (Linux, Documentation/arm64/booting.rst).
// From Rust: {window}, {direct}, {stacks}, {stack} (machine.rs).

.equ NORMAL, 0x701                      // valid block, attribute 0, inner shareable, accessed
.equ DEVICE, 0x60000000000405           // valid block, attribute 1, accessed, never executed
.equ TABLE, 3
.equ L2, 0x1000
.equ L3, 0x2000
.equ DIRECT_GIBS, 16

.section .text.start, "ax"
.global _start
_start:
    b       boot
    nop
    .quad   0                           // offset from a 2 MiB boundary
    .quad   image_size
    .quad   0xa                         // little-endian, 4 KiB pages, anywhere in memory
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

boot:
    msr     daifset, #15
    mov     x20, x0
    adr     x21, _start
    adrp    x22, tables
    // Nothing dirty may be written over the tables later, nothing stale be read instead of them.
    bl      invalidate_tables
    mov     x0, x22
    add     x1, x22, #0x3000
1:  stp     xzr, xzr, [x0], #16
    cmp     x0, x1
    b.lo    1b

    // Where it is, for the moment in which the MMU comes on.
    ldr     x6, =NORMAL
    lsr     x2, x21, #30
    lsl     x4, x2, #30
    orr     x4, x4, x6
    str     x4, [x22, x2, lsl #3]
    // All addresses, in blocks of 1 GiB, of which the first holds devices.
    add     x3, x22, #({direct} >> 30) * 8
    ldr     x4, =DEVICE
    str     x4, [x3], #8
    mov     x2, #1
2:  lsl     x4, x2, #30
    orr     x4, x4, x6
    str     x4, [x3], #8
    add     x2, x2, #1
    cmp     x2, #DIRECT_GIBS
    b.lo    2b
    // The window: the image, and behind it 2 MiB of pages that Rust maps.
    add     x3, x22, #L2
    orr     x4, x3, #TABLE
    str     x4, [x22, #({window} >> 30) * 8]
    orr     x4, x21, x6
    str     x4, [x3]
    add     x5, x22, #L3
    orr     x4, x5, #TABLE
    str     x4, [x3, #8]
    dsb     sy
    bl      invalidate_tables

    ldr     x30, =high
    b       enable_mmu

// Where the firmware sends another CPU, with its number; Rust has mapped the place where the MMU comes on.
.global secondary
secondary:
    msr     daifset, #15
    mov     x20, x0
    adrp    x22, tables
    ldr     x30, =secondary_high
    b       enable_mmu
secondary_high:
    ldr     x0, =vectors
    msr     vbar_el1, x0
    isb
    ldr     x0, ={stacks}
    add     x1, x20, #1
    mov     x2, #{stack}
    madd    x0, x1, x2, x0
    mov     sp, x0
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x20
    b       guest_secondary

// Turns on MMU and caches with the tables at x22, and goes to x30.
enable_mmu:
    ldr     x0, =0x4400ff               // attributes: write-back, nGnRnE, uncached
    msr     mair_el1, x0
    mrs     x1, id_aa64mmfr0_el1
    and     x1, x1, #15
    mov     x2, #5                      // 48 bits
    cmp     x1, x2
    csel    x1, x1, x2, lo
    ldr     x0, =0x993519               // 39 bits below, nothing above; write-back, inner shareable, 4 KiB
    orr     x0, x0, x1, lsl #32
    msr     tcr_el1, x0
    msr     ttbr0_el1, x22
    tlbi    vmalle1
    ic      iallu
    dsb     nsh
    isb
    ldr     x0, =0x30d0180d             // MMU, caches, stack alignment
    msr     sctlr_el1, x0
    isb
    ret
high:
    ldr     x0, =tables
    lsr     x2, x21, #30
    str     xzr, [x0, x2, lsl #3]
    dsb     ish
    tlbi    vmalle1
    dsb     ish
    ldr     x0, =vectors
    msr     vbar_el1, x0
    isb
    ldr     x0, =stack_top
    mov     sp, x0
    ldr     x0, =bss_start
    ldr     x1, =stack_bottom
1:  cmp     x0, x1
    b.hs    2f
    stp     xzr, xzr, [x0], #16
    b       1b
2:  mov     x29, xzr
    mov     x30, xzr
    mov     x0, x21
    mov     x1, x20
    b       guest_main

invalidate_tables:
    mov     x0, x22
    add     x1, x22, #0x3000
1:  dc      ivac, x0
    add     x0, x0, #16
    cmp     x0, x1
    b.lo    1b
    dsb     sy
    ret
.ltorg

.macro vector kind
    .balign 128
    sub     sp, sp, #272
    stp     x0, x1, [sp]
    mov     x1, #\kind
    b       exception
.endm

.balign 2048
vectors:
    vector 0
    vector 1
    vector 2
    vector 3
    vector 4
    vector 5
    vector 6
    vector 7
    vector 8
    vector 9
    vector 10
    vector 11
    vector 12
    vector 13
    vector 14
    vector 15
.balign 128
exception:
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    mrs     x2, elr_el1
    stp     x30, x2, [sp, #240]
    mrs     x2, spsr_el1
    str     x2, [sp, #256]
    mov     x0, sp
    bl      guest_exception
    ldr     x2, [sp, #256]
    msr     spsr_el1, x2
    ldp     x30, x2, [sp, #240]
    msr     elr_el1, x2
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x19, [sp, #144]
    ldp     x20, x21, [sp, #160]
    ldp     x22, x23, [sp, #176]
    ldp     x24, x25, [sp, #192]
    ldp     x26, x27, [sp, #208]
    ldp     x28, x29, [sp, #224]
    ldp     x0, x1, [sp]
    add     sp, sp, #272
    eret
.text

// extern "C" fn debugged(): an instruction that is skipped where it makes an exception.
.global debugged
debugged:
    nop
    ret

// extern "C" fn fill_registers(pattern: u64): puts something of the pattern into every register that another vCPU has as well.
// extern "C" fn check_registers(pattern: u64) -> u64: returns the bits that are not what was put there.
.arch_extension fp
.arch_extension simd
.macro each_vector act
    .irp    n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    \act    \n
    .endr
.endm
.macro fill_vector n
    add     x1, x0, #\n
    dup     v\n\().2d, x1
.endm
.macro check_vector n
    add     x1, x0, #\n
    mov     x2, v\n\().d[0]
    eor     x2, x2, x1
    orr     x3, x3, x2
    mov     x2, v\n\().d[1]
    eor     x2, x2, x1
    orr     x3, x3, x2
.endm
.macro check register, mask
    mrs     x2, \register
    and     x1, x0, #\mask
    eor     x2, x2, x1
    orr     x3, x3, x2
.endm
.global fill_registers
fill_registers:
    each_vector fill_vector
    and     x1, x0, #0xf
    msr     fpsr, x1                    // cumulative exceptions
    and     x1, x0, #0xc00000
    msr     fpcr, x1                    // rounding
    msr     tpidr_el0, x0
    msr     tpidr_el1, x0
    and     x1, x0, #0xffff
    msr     contextidr_el1, x1
    isb
    ret
.global check_registers
check_registers:
    mov     x3, xzr
    each_vector check_vector
    check   fpsr, 0xf
    check   fpcr, 0xc00000
    mrs     x2, tpidr_el0
    eor     x2, x2, x0
    orr     x3, x3, x2
    mrs     x2, tpidr_el1
    eor     x2, x2, x0
    orr     x3, x3, x2
    check   contextidr_el1, 0xffff
    mov     x0, x3
    ret
