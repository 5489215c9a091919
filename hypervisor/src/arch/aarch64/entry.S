// From the loader to Rust: the arm64 Image header, the first page tables, the MMU; and the same way in for the other CPUs.
//
// Entered at EL2 with MMU and data cache off, x0 = physical address of the device tree (Linux, Documentation/arm64/booting.rst).
// Two mappings are made: the 2 MiB of the image where they are, for the moment in which the MMU comes on, and the window (layout.rs),
// which holds the image and the device tree. Rust then makes the lasting tables; these stay for the other CPUs.

.equ BLOCK, 0x741               // valid block, normal memory, read-write, inner shareable, accessed
.equ TABLE, 3
.equ L0, 0
.equ L1_HERE, 0x1000
.equ L2_HERE, 0x2000
.equ L1_WINDOW, 0x3000
.equ L2_WINDOW, 0x4000
.equ L3_WINDOW, 0x5000
.equ TABLES_SIZE, 0x6000
.equ PAGE, 0x743
.equ STACK_BIT, 15              // set in every stack pointer that is not in a guard (layout.rs)

.section .boot.tables, "aw", %nobits
.balign 4096
.global boot_tables
boot_tables:
    .space TABLES_SIZE

.section .text.start, "ax"
.global _start
_start:
    b       boot
    .long   0
    .quad   0                   // offset from a 2 MiB boundary
    .quad   image_size
    .quad   0xa                 // little-endian, 4 KiB pages, anywhere in memory
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

boot:
    msr     daifset, #15
    mrs     x1, CurrentEL
    cmp     x1, #(2 << 2)
    b.ne    park
    mov     x20, x0
    adr     x21, _start
    adrp    x22, boot_tables

    // Nothing dirty may be written over the tables later, nothing stale be read instead of them.
    bl      invalidate_tables
    mov     x0, x22
    add     x1, x22, #TABLES_SIZE
1:  stp     xzr, xzr, [x0], #16
    cmp     x0, x1
    b.lo    1b

    mov     x6, #BLOCK
    add     x3, x22, #L1_HERE
    add     x5, x22, #L2_HERE
    ubfx    x2, x21, #39, #9
    orr     x4, x3, #TABLE
    str     x4, [x22, x2, lsl #3]
    ubfx    x2, x21, #30, #9
    orr     x4, x5, #TABLE
    str     x4, [x3, x2, lsl #3]
    ubfx    x2, x21, #21, #9
    orr     x4, x21, x6
    str     x4, [x5, x2, lsl #3]

    add     x3, x22, #L1_WINDOW
    add     x5, x22, #L2_WINDOW
    orr     x4, x3, #TABLE
    str     x4, [x22, #({image} >> 39) * 8]
    orr     x4, x5, #TABLE
    str     x4, [x3]
    // Pages, because the lasting tables map pages too: a size never changes under a translation that is in use.
    add     x3, x22, #L3_WINDOW
    orr     x4, x3, #TABLE
    str     x4, [x5]
    mov     x4, #PAGE
    orr     x4, x4, x21
    mov     x2, #0
1:  str     x4, [x3, x2, lsl #3]
    add     x4, x4, #0x1000
    add     x2, x2, #1
    cmp     x2, #512
    b.lo    1b

    // The device tree, 2 MiB at most, touches two blocks at most; the second is mapped only if it does, for it may not be memory.
    and     x7, x20, #0xffffffffffe00000
    orr     x4, x7, x6
    str     x4, [x5, #8]
    ldr     w8, [x20, #4]       // its size, big-endian
    rev     w8, w8
    sub     x9, x20, x7
    add     x9, x9, x8
    sub     x9, x9, #1
    lsr     x9, x9, #21
    cbz     x9, 2f
    add     x7, x7, #0x200000
    orr     x4, x7, x6
    str     x4, [x5, #16]
2:  dsb     sy
    bl      invalidate_tables
    ldr     x30, =boot_high
    b       enable_mmu

boot_high:
    ldr     x0, =boot_stack_top
    mov     sp, x0
    ldr     x0, =bss_start
    ldr     x1, =bss_end
1:  cmp     x0, x1
    b.hs    2f
    stp     xzr, xzr, [x0], #16
    b       1b
2:  mov     x29, xzr
    mov     x30, xzr
    mov     x0, x21
    mov     x1, x20
    b       hypervisor_main

// Where the firmware sends every other CPU, one at a time; what it needs is in SECONDARY (smp.rs).
.global secondary_start
secondary_start:
    msr     daifset, #15
    adrp    x22, boot_tables
    ldr     x30, =secondary_high
    b       enable_mmu
secondary_high:
    ldr     x0, ={secondary}
    ldp     x1, x2, [x0]
    msr     ttbr0_el2, x1
    isb
    tlbi    alle2
    dsb     nsh
    isb
    mov     sp, x2
    ldr     x0, [x0, #16]
    mov     x29, xzr
    mov     x30, xzr
    b       hypervisor_secondary

// Turns on MMU and caches with the tables at x22, and goes to x30.
enable_mmu:
    mov     x0, #(1 << 31)      // HCR_EL2.RW, and nothing trapped yet
    msr     hcr_el2, x0
    isb
    ldr     x0, ={mair}
    msr     mair_el2, x0
    mrs     x1, id_aa64mmfr0_el1
    and     x1, x1, #15
    mov     x2, #5              // 48 bits
    cmp     x1, x2
    csel    x1, x1, x2, lo
    ldr     x0, ={tcr}
    bfi     x0, x1, #16, #3
    msr     tcr_el2, x0
    msr     ttbr0_el2, x22
    ldr     x0, =vectors
    msr     vbar_el2, x0
    tlbi    alle2
    ic      iallu
    dsb     nsh
    isb
    ldr     x0, ={sctlr}
    msr     sctlr_el2, x0
    isb
    ret

// By the smallest line that there is; longer ones are invalidated more than once.
invalidate_tables:
    mov     x0, x22
    add     x1, x22, #TABLES_SIZE
1:  dc      ivac, x0
    add     x0, x0, #16
    cmp     x0, x1
    b.lo    1b
    dsb     sy
    ret

park:
    wfe
    b       park
.ltorg

// ---- Exceptions ----------------------------------------------------------------------------------------------------

.macro from_guest kind
    .balign 128
    stp     x0, x1, [sp, #-16]!
    mov     x1, #\kind
    b       guest_left
.endm

// Likewise, where a guest's exit has to make the firmware forget what the guest taught the branch predictor: workaround 1 or 3, of which
// this is the lower half of the number. They change x0 to x3 at most (DEN 0028, 2.6 and 7.4).
.macro from_teacher kind, workaround
    .balign 128
    stp     x0, x1, [sp, #-16]!
    stp     x2, x3, [sp, #-16]!
    mov     w0, #0x80000000
    movk    w0, #(\workaround)
    smc     #0
    ldp     x2, x3, [sp], #16
    mov     x1, #\kind
    b       guest_left
.endm

// In EL2 itself: a mistake of ours. x0 is freed without memory to see whether the stack is left.
.macro from_here kind
    .balign 128
    add     sp, sp, x0
    sub     x0, sp, x0
    tbz     x0, #STACK_BIT, overflow_\@
    sub     x0, sp, x0
    sub     sp, sp, x0
    b       died_\@
overflow_\@:
    ldr     x0, =emergency_stack_top
    mov     sp, x0
died_\@:
    sub     sp, sp, #272
    stp     x0, x1, [sp]
    mov     x1, #\kind
    b       died
.endm

.macro table name
    .balign 2048
    .global \name
\name:
    .irp    kind, 0, 1, 2, 3, 4, 5, 6, 7
    from_here \kind
    .endr
.endm

.section .text.vectors, "ax"
table vectors
    .irp    kind, 0, 1, 2, 3, 4, 5, 6, 7
    from_guest \kind
    .endr
table vectors_workaround_1
    .irp    kind, 0, 1, 2, 3, 4, 5, 6, 7
    from_teacher \kind, {workaround_1} & 0xffff
    .endr
table vectors_workaround_3
    .irp    kind, 0, 1, 2, 3, 4, 5, 6, 7
    from_teacher \kind, {workaround_3} & 0xffff
    .endr
.balign 128
.ltorg

died:
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
    mrs     x2, elr_el2
    stp     x30, x2, [sp, #240]
    mrs     x2, spsr_el2
    str     x2, [sp, #256]
    mov     x0, sp
    b       hypervisor_died

// extern "C" fn enter_guest(context: &mut Context) -> u64
//
// Returns when an exception brings the guest back, with the kind of vector. The stack holds, from its top:
//   +0   x19 to x30 of the caller
//   +96  the context's address, +104 unused
.global enter_guest
enter_guest:
    sub     sp, sp, #112
    stp     x19, x20, [sp]
    stp     x21, x22, [sp, #16]
    stp     x23, x24, [sp, #32]
    stp     x25, x26, [sp, #48]
    stp     x27, x28, [sp, #64]
    stp     x29, x30, [sp, #80]
    str     x0, [sp, #96]
    ldp     x1, x2, [x0, #{pc}]
    msr     elr_el2, x1
    msr     spsr_el2, x2
    ldp     x2, x3, [x0, #16]
    ldp     x4, x5, [x0, #32]
    ldp     x6, x7, [x0, #48]
    ldp     x8, x9, [x0, #64]
    ldp     x10, x11, [x0, #80]
    ldp     x12, x13, [x0, #96]
    ldp     x14, x15, [x0, #112]
    ldp     x16, x17, [x0, #128]
    ldp     x18, x19, [x0, #144]
    ldp     x20, x21, [x0, #160]
    ldp     x22, x23, [x0, #176]
    ldp     x24, x25, [x0, #192]
    ldp     x26, x27, [x0, #208]
    ldp     x28, x29, [x0, #224]
    ldr     x30, [x0, #240]
    ldp     x0, x1, [x0]
    eret
    dsb     nsh                 // nothing is speculated past the return
    isb

guest_left:
    ldr     x0, [sp, #16 + 96]
    stp     x2, x3, [x0, #16]
    stp     x4, x5, [x0, #32]
    stp     x6, x7, [x0, #48]
    stp     x8, x9, [x0, #64]
    stp     x10, x11, [x0, #80]
    stp     x12, x13, [x0, #96]
    stp     x14, x15, [x0, #112]
    stp     x16, x17, [x0, #128]
    stp     x18, x19, [x0, #144]
    stp     x20, x21, [x0, #160]
    stp     x22, x23, [x0, #176]
    stp     x24, x25, [x0, #192]
    stp     x26, x27, [x0, #208]
    stp     x28, x29, [x0, #224]
    str     x30, [x0, #240]
    ldp     x2, x3, [sp], #16
    stp     x2, x3, [x0]
    mrs     x2, elr_el2
    mrs     x3, spsr_el2
    stp     x2, x3, [x0, #{pc}]
    mov     x0, x1
    ldp     x19, x20, [sp]
    ldp     x21, x22, [sp, #16]
    ldp     x23, x24, [sp, #32]
    ldp     x25, x26, [sp, #48]
    ldp     x27, x28, [sp, #64]
    ldp     x29, x30, [sp, #80]
    add     sp, sp, #112
    ret

// extern "C" fn save_vectors(registers: &mut Vectors), load_vectors: the floating-point registers, which EL2's own code never touches.
.arch_extension fp
.arch_extension simd
.global save_vectors
save_vectors:
    stp     q0, q1, [x0]
    stp     q2, q3, [x0, #32]
    stp     q4, q5, [x0, #64]
    stp     q6, q7, [x0, #96]
    stp     q8, q9, [x0, #128]
    stp     q10, q11, [x0, #160]
    stp     q12, q13, [x0, #192]
    stp     q14, q15, [x0, #224]
    stp     q16, q17, [x0, #256]
    stp     q18, q19, [x0, #288]
    stp     q20, q21, [x0, #320]
    stp     q22, q23, [x0, #352]
    stp     q24, q25, [x0, #384]
    stp     q26, q27, [x0, #416]
    stp     q28, q29, [x0, #448]
    stp     q30, q31, [x0, #480]
    mrs     x1, fpsr
    mrs     x2, fpcr
    add     x0, x0, #512
    stp     x1, x2, [x0]
    ret

.global load_vectors
load_vectors:
    ldp     q0, q1, [x0]
    ldp     q2, q3, [x0, #32]
    ldp     q4, q5, [x0, #64]
    ldp     q6, q7, [x0, #96]
    ldp     q8, q9, [x0, #128]
    ldp     q10, q11, [x0, #160]
    ldp     q12, q13, [x0, #192]
    ldp     q14, q15, [x0, #224]
    ldp     q16, q17, [x0, #256]
    ldp     q18, q19, [x0, #288]
    ldp     q20, q21, [x0, #320]
    ldp     q22, q23, [x0, #352]
    ldp     q24, q25, [x0, #384]
    ldp     q26, q27, [x0, #416]
    ldp     q28, q29, [x0, #448]
    ldp     q30, q31, [x0, #480]
    add     x0, x0, #512
    ldp     x1, x2, [x0]
    msr     fpsr, x1
    msr     fpcr, x2
    ret

.section .bss.emergency, "aw", %nobits
.balign 16
    .space 4096
emergency_stack_top:

.text
