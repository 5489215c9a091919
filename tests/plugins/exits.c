/* A TCG plugin for QEMU (plugin API version 1) that records every exit of a guest to the hypervisor, with its reason, arguments and answer.
 *
 * It needs nothing of the hypervisor but the window of virtual addresses it runs in, and knows nothing of the guest.
 *
 *   exit       the first instruction in the window after one outside it, at a vector's offset for a lower exception level
 *   registers  the hypervisor saves them: the first store of each general register after an exit is the guest's value; a store of
 *              a register that an MRS filled is that system register's value (ESR_EL2, ELR_EL2, TTBR1_EL1, ...)
 *   values     a plugin of this API sees addresses only, so the machine's memory is a shared file that is read here:
 *              -object memory-backend-file,id=ram,size=1G,mem-path=FILE,share=on -machine memory-backend=ram
 *   answer     the same saved frame, read again at the first instruction outside the window: the hypervisor returns from it
 *   VA -> IPA  by the guest's own tables from TTBR1_EL1, once the hypervisor was seen to save that; for pointers in hypercalls else
 *              by the first load of the hypervisor that has the pointer's offset in its page (the copy of the argument)
 *
 * Arguments: lo=, hi= the window; ram= the memory's file; base= where the memory begins (0x40000000); dom0=N vCPUs of Dom0, which
 * are those first seen; out= the table "count exit"; log= one line per exit, in order (optional).
 */
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* What is used of qemu-plugin.h, which Debian does not install. */
typedef uint64_t qemu_plugin_id_t;
typedef struct {
    const char *target_arch;
    struct { int min, cur; } version;
    bool system_emulation;
    struct { int smp_vcpus, max_vcpus; } system;
} qemu_info_t;
typedef uint32_t qemu_plugin_meminfo_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_hwaddr;
enum { NO_REGS = 0 };
enum { MEM_RW = 3 }; /* 7.2 leaves most loads out when only those are asked for */
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, void (*)(unsigned, void *), int, void *);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, void (*)(unsigned, void *), int, void *);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *, void (*)(unsigned, qemu_plugin_meminfo_t, uint64_t, void *),
                                      int, int, void *);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
unsigned qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t);
struct qemu_plugin_hwaddr *qemu_plugin_get_hwaddr(qemu_plugin_meminfo_t, uint64_t);
bool qemu_plugin_hwaddr_is_io(const struct qemu_plugin_hwaddr *);
uint64_t qemu_plugin_hwaddr_phys_addr(const struct qemu_plugin_hwaddr *);
__attribute__((visibility("default"))) int qemu_plugin_version = 1;

/* System registers by their five numbers, as MRS and the syndrome of a trap both name them. */
#define SYSREG(op0, op1, crn, crm, op2) ((op0) << 14 | (op1) << 11 | (crn) << 7 | (crm) << 3 | (op2))
enum {
    ESR_EL2 = SYSREG(3, 4, 5, 2, 0),
    FAR_EL2 = SYSREG(3, 4, 6, 0, 0),
    ELR_EL2 = SYSREG(3, 4, 4, 0, 1),
    TTBR1_EL1 = SYSREG(3, 0, 2, 0, 1),
};

static uint64_t lo = 0x200000, hi = 0x400000, base = 0x40000000, ram_size;
static unsigned dom0_vcpus = 1;
static const uint8_t *ram;
static FILE *log_file;
static const char *out_path;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* Tables that kernels were seen to use, the latest first: a kernel has more than one in its life, and unmaps itself from some. */
static uint64_t tables[16];

#define CPUS 64
struct cpu {
    bool inside;          /* in the window */
    bool open;            /* an exit is being served */
    unsigned vector;      /* offset in the vector table */
    uint32_t seen;        /* bit n: x[n] is the guest's */
    uint64_t x[31], at[31]; /* values, and where they are saved */
    uint64_t esr, elr;
    bool has_esr, has_elr;
    uint16_t holds[31];   /* which system register an MRS put here */
    uint64_t argument;    /* physical address of a hypercall's structure */
    uint64_t pair;        /* where the second half of a pair would go */
};
static struct cpu cpus[CPUS];

static bool read_ram(uint64_t physical, void *to, size_t size) {
    if (physical < base || physical - base + size > ram_size) return false;
    memcpy(to, ram + (physical - base), size);
    return true;
}

static void remember(uint64_t table) {
    size_t i = 0;
    while (i < 15 && tables[i] && tables[i] != table) i++;
    memmove(tables + 1, tables, i * sizeof *tables);
    tables[0] = table;
}

/* Translates a kernel's address by one table of 4 KiB pages with 48 bits; 0 if it has no translation. */
static uint64_t walk(uint64_t table, uint64_t va) {
    uint64_t entry;
    for (int level = 0; level <= 3; level++) {
        int shift = 39 - 9 * level;
        if (!read_ram(table + (va >> shift & 511) * 8, &entry, 8) || !(entry & 1)) return 0;
        uint64_t address = entry & 0x0000fffffffff000, inside = ((uint64_t)1 << shift) - 1;
        if (level == 3) return entry & 2 ? address | (va & inside) : 0;
        if (!(entry & 2)) return (address & ~inside) | (va & inside);
        table = address;
    }
    return 0;
}

static uint64_t translate(uint64_t va) {
    uint64_t found = 0;
    if (va >> 48 == 0xffff)
        for (size_t i = 0; i < 16 && tables[i] && !found; i++) found = walk(tables[i], va);
    return found;
}

/* Loads and stores outside the window by their address, noted when they are translated: an abort may come before the tables do. */
#define CODE 0x200000
static struct { uint64_t at; uint32_t insn; } code[CODE];

static size_t slot(uint64_t at) {
    size_t i = (at >> 2) * 0x9e3779b97f4a7c15 >> 43;
    while (code[i].at && code[i].at != at) i = (i + 1) % CODE;
    return i;
}

static void note_code(uint64_t at, uint32_t insn) {
    static size_t noted;
    size_t i = slot(at);
    if (!code[i].at && ++noted > CODE / 2) return;
    code[i].insn = insn;
    code[i].at = at;
}

/* The table of exits: text -> count. */
struct row { char *text; uint64_t count; };
static struct row *rows;
static size_t row_count, row_room;

static void count(const char *text) {
    for (size_t i = 0; i < row_count; i++)
        if (!strcmp(rows[i].text, text)) {
            rows[i].count++;
            return;
        }
    if (row_count == row_room) rows = realloc(rows, (row_room = row_room * 2 + 64) * sizeof *rows);
    rows[row_count++] = (struct row){strdup(text), 1};
}

/* Which virtual CPU: the frame's place in memory, since every vCPU has a stack of its own. */
static uint64_t frames[256];
static unsigned frame_count;
static const char *domain(uint64_t frame) {
    unsigned i = 0;
    while (i < frame_count && frames[i] != frame) i++;
    if (i == frame_count && frame_count < 256) frames[frame_count++] = frame;
    return i < dom0_vcpus ? "dom0" : "domu";
}

/* Pages that were accessed before the tables were known: they are resolved when the table is written. */
static const char *const hypercalls[64] = {
    [7] = "platform_op", [12] = "memory_op", [13] = "multicall", [17] = "xen_version", [18] = "console_io", [20] = "grant_table_op",
    [21] = "vm_assist", [24] = "vcpu_op", [27] = "xsm_op", [29] = "sched_op", [32] = "event_channel_op", [33] = "physdev_op",
    [34] = "hvm_op", [35] = "sysctl", [36] = "domctl", [39] = "argo_op", [41] = "dm_op", [42] = "hypfs_op",
};

static uint64_t reg(const struct cpu *c, unsigned n) { return n < 31 ? c->x[n] : 0; }

static uint64_t answer(const struct cpu *c, unsigned n) {
    uint64_t value = 0;
    if (n < 31 && c->at[n]) read_ram(c->at[n], &value, 8);
    return value;
}

/* Reads a field of the structure a hypercall's argument points at; false if its place is not known. */
static bool field(const struct cpu *c, unsigned offset, void *to, size_t size) {
    return c->argument && read_ram(c->argument + offset, to, size);
}

static int hypercall(const struct cpu *c, char *text, size_t room) {
    uint64_t nr = c->x[16], op = c->x[0];
    const char *name = nr < 64 && hypercalls[nr] ? hypercalls[nr] : "?";
    int64_t rc = (int64_t)answer(c, 0);
    uint32_t word = 0;
    uint16_t half = 0;
    char detail[96] = "";
    switch (nr) {
    case 7: case 35: case 36:
        if (field(c, 0, &word, 4)) snprintf(detail, sizeof detail, " cmd %u", word);
        else snprintf(detail, sizeof detail, " cmd ?");
        break;
    case 12:
        if ((op & 63) == 7 && field(c, 4, &word, 4)) snprintf(detail, sizeof detail, " %" PRIu64 " space %u", op & 63, word);
        else if ((op & 63) == 23 && field(c, 2, &half, 2)) snprintf(detail, sizeof detail, " %" PRIu64 " space %u", op & 63, half);
        else if ((op & 63) == 28 && field(c, 2, &half, 2)) snprintf(detail, sizeof detail, " %" PRIu64 " type %u", op & 63, half);
        else snprintf(detail, sizeof detail, " %" PRIu64, op & 63);
        if ((op & 63) <= 6 && (op & 63) != 2 && rc > 0) rc = 1; /* a count, of whatever was asked */
        break;
    case 13: { /* the first of them */
        uint64_t inner[3];
        if (field(c, 0, inner, sizeof inner)) snprintf(detail, sizeof detail, " of %s %" PRIu64, hypercalls[inner[0] & 63], inner[2]);
        break;
    }
    case 34:
        if (op <= 1 && field(c, 4, &word, 4)) snprintf(detail, sizeof detail, " %" PRIu64 " index %u", op, word);
        else snprintf(detail, sizeof detail, " %" PRIu64, op);
        break;
    case 18:
        snprintf(detail, sizeof detail, " %" PRIu64, op);
        if (rc > 0) rc = 1;
        break;
    case 20: case 24: case 17: case 29: case 32: case 33: case 21:
        snprintf(detail, sizeof detail, " %" PRIu64, op);
        break;
    default: break;
    }
    if (rc >= 4096 && (uint64_t)rc == op) /* preempted: the call will be made again as it stands, or as it was changed */
        return snprintf(text, room, "hypercall %" PRIu64 " %s%s continued", nr, name, detail);
    if (rc < 0 && rc > -4096) return snprintf(text, room, "hypercall %" PRIu64 " %s%s = -%d", nr, name, detail, (int)-rc);
    if (nr == 17 || (rc >= 0 && rc < 4096)) return snprintf(text, room, "hypercall %" PRIu64 " %s%s = %" PRIu64, nr, name, detail, (uint64_t)rc);
    return snprintf(text, room, "hypercall %" PRIu64 " %s%s", nr, name, detail);
}

static int describe(const struct cpu *c, char *text, size_t room) {
    if (c->vector == 0x480 || c->vector == 0x680) return snprintf(text, room, "irq");
    if (c->vector == 0x500 || c->vector == 0x700) return snprintf(text, room, "fiq");
    if (c->vector == 0x580 || c->vector == 0x780) return snprintf(text, room, "serror");
    if (!c->has_esr) /* answered before anything else was saved */
        return snprintf(text, room, "hvc or smc 0x%08" PRIx64 ", answered at the vector", c->x[0] & 0xffffffff);
    unsigned class = c->esr >> 26 & 63, iss = c->esr & 0x1ffffff;
    switch (class) {
    case 0x01: return snprintf(text, room, iss & 1 ? "wfe" : "wfi");
    case 0x16: case 0x17: {
        const char *what = class == 0x16 ? "hvc" : "smc";
        if (class == 0x16 && (iss & 0xffff) == 0xea1) return hypercall(c, text, room);
        if (iss & 0xffff) return snprintf(text, room, "%s #0x%x", what, iss & 0xffff);
        uint64_t function = c->x[0] & 0xffffffff;
        if (function == 0x8400000a || function == 0x80000001)
            return snprintf(text, room, "%s 0x%08" PRIx64 " (0x%08" PRIx64 ") = %" PRId64, what, function, c->x[1] & 0xffffffff,
                            (int64_t)answer(c, 0));
        return snprintf(text, room, "%s 0x%08" PRIx64 " = %" PRId64, what, function, (int64_t)answer(c, 0));
    }
    case 0x18: {
        unsigned op0 = iss >> 20 & 3, op2 = iss >> 17 & 7, op1 = iss >> 14 & 7, crn = iss >> 10 & 15, rt = iss >> 5 & 31, crm = iss >> 1 & 15;
        if (iss & 1)
            return snprintf(text, room, "sysreg read s%u_%u_c%u_c%u_%u = 0x%" PRIx64, op0, op1, crn, crm, op2, rt == 31 ? 0 : answer(c, rt));
        return snprintf(text, room, "sysreg write s%u_%u_c%u_c%u_%u", op0, op1, crn, crm, op2);
    }
    case 0x20: return snprintf(text, room, "instruction abort");
    case 0x24: {
        /* The address: by the instruction, since the fault's address is not always saved. */
        uint64_t va = 0;
        size_t noted = slot(c->elr);
        if (code[noted].at) {
            uint32_t insn = code[noted].insn;
            unsigned rn = insn >> 5 & 31;
            if ((insn & 0x3b000000) == 0x39000000) va = reg(c, rn) + ((uint64_t)(insn >> 10 & 0xfff) << (insn >> 30));
            else if ((insn & 0x3b200c00) == 0x38000000) va = reg(c, rn) + (uint64_t)((int64_t)((uint64_t)insn << 43) >> 55);
            else va = reg(c, rn);
        }
        uint64_t ipa = translate(va);
        unsigned bytes = 1u << (iss >> 22 & 3), rt = iss >> 16 & 31;
        bool write = iss & 0x40;
        char where[64];
        if (ipa) snprintf(where, sizeof where, "0x%08" PRIx64, ipa);
        else snprintf(where, sizeof where, "va 0x%" PRIx64, va);
        if (!(iss & 1 << 24)) return snprintf(text, room, "data abort %s %s without syndrome, fsc 0x%x", where, write ? "write" : "read", iss & 63);
        if (write) return snprintf(text, room, "mmio write%u %s", bytes * 8, where);
        return snprintf(text, room, "mmio read%u %s = 0x%" PRIx64, bytes * 8, where, rt == 31 ? 0 : answer(c, rt));
    }
    default: return snprintf(text, room, "class 0x%02x iss 0x%x", class, iss);
    }
}

static void leave(struct cpu *c, unsigned index, bool returns) {
    char what[200], text[256];
    pthread_mutex_lock(&lock);
    describe(c, what, sizeof what);
    char *result = returns ? NULL : strstr(what, " = ");
    if (result) strcpy(result, " without return");
    snprintf(text, sizeof text, "%s %s", domain(c->at[0] ? c->at[0] : c->at[2]), what);
    count(text);
    if (log_file)
        fprintf(log_file, "%u %s\telr %" PRIx64 " x0 %" PRIx64 " x1 %" PRIx64 " x2 %" PRIx64 " esr %" PRIx64 "\n", index, text, c->elr,
                c->x[0], c->x[1], c->x[2], c->has_esr ? c->esr : 0);
    pthread_mutex_unlock(&lock);
    c->open = false;
}

static void outside(unsigned index, void *unused) {
    struct cpu *c = &cpus[index % CPUS];
    (void)unused;
    if (!c->inside) return;
    c->inside = false;
    if (c->open) leave(c, index, true);
}

static void inside(unsigned index, void *address) {
    struct cpu *c = &cpus[index % CPUS];
    static uint64_t vectors;
    uint64_t at = (uintptr_t)address;
    unsigned vector = at & 0x7ff;
    bool entry = vector >= 0x400 && !(vector & 0x7f);
    if (c->inside) {
        /* An interrupt that was waiting is taken before the guest executes anything. */
        if (!entry || !vectors || (at & ~0x7ffull) != vectors) return;
        outside(index, NULL);
    } else if (entry) {
        vectors = at & ~0x7ffull;
    }
    *c = (struct cpu){.inside = true, .vector = vector, .open = entry};
}

/* What a store or MRS names, packed into the callback's pointer. */
static void mrs(unsigned index, void *packed) {
    struct cpu *c = &cpus[index % CPUS];
    uintptr_t insn = (uintptr_t)packed;
    if ((insn & 31) < 31) c->holds[insn & 31] = insn >> 5 & 0xffff;
}

static void saved(struct cpu *c, unsigned n, unsigned bytes, uint64_t physical) {
    uint64_t value = 0;
    if (n == 31 || !read_ram(physical, &value, bytes)) return;
    switch (c->holds[n]) {
    case 0:
        if (c->open && !(c->seen >> n & 1) && bytes == 8) {
            c->seen |= 1u << n;
            c->x[n] = value;
            c->at[n] = physical;
        }
        return;
    case ESR_EL2: if (!c->has_esr) c->esr = value, c->has_esr = true; break;
    case ELR_EL2: if (!c->has_elr) c->elr = value, c->has_elr = true; break;
    case TTBR1_EL1: if (value & 0x0000fffffffff000) remember(value & 0x0000fffffffff000); break;
    default: break;
    }
    c->holds[n] = 0;
    c->seen |= 1u << n; /* the hypervisor's from here on */
}

static void store(unsigned index, qemu_plugin_meminfo_t info, uint64_t va, void *packed) {
    struct cpu *c = &cpus[index % CPUS];
    uint32_t insn = (uint32_t)(uintptr_t)packed;
    bool pair = (insn & 0x3a000000) == 0x28000000;
    unsigned bytes = 1u << qemu_plugin_mem_size_shift(info), first = insn & 31, second = insn >> 10 & 31;
    unsigned n = pair && c->pair == va ? second : first;
    c->pair = pair && n == first && c->pair != va ? va + bytes : 0;
    if (!c->holds[n % 31] && !(c->open && !(c->seen >> n & 1))) return;
    struct qemu_plugin_hwaddr *where = qemu_plugin_get_hwaddr(info, va);
    if (where && !qemu_plugin_hwaddr_is_io(where)) saved(c, n, bytes, qemu_plugin_hwaddr_phys_addr(where));
}

/* A load: perhaps the copy of a hypercall's argument. */
static void load(unsigned index, qemu_plugin_meminfo_t info, uint64_t va, void *unused) {
    struct cpu *c = &cpus[index % CPUS];
    (void)unused;
    if (!c->open || c->argument || !c->has_esr || (c->esr & 0xfc00ffff) != (0x16u << 26 | 0xea1)) return;
    uint64_t nr = c->x[16], pointer = nr == 7 || nr == 13 || nr == 35 || nr == 36 ? c->x[0] : c->x[1];
    if (pointer < 4096 || (va ^ pointer) & 0xfff) return;
    uint64_t known = pointer >> 48 == 0xffff ? translate(pointer) : 0;
    struct qemu_plugin_hwaddr *where = qemu_plugin_get_hwaddr(info, va);
    if (!where || qemu_plugin_hwaddr_is_io(where)) return;
    uint64_t physical = qemu_plugin_hwaddr_phys_addr(where);
    uint32_t version = 0;
    if (known && physical != known) return;
    if ((nr == 35 || nr == 36) && (!read_ram(physical + 4, &version, 4) || version - 0x10 > 16)) return;
    if (nr == 34 && pointer >> 48 != 0xffff) { /* a toolstack's, which sets parameters of another domain than 0 */
        uint32_t words[2];
        if (!read_ram(physical, words, 8) || !words[0] || words[0] >= 0x7ff0 || words[1] > 63) return;
    }
    if (nr == 13) {
        uint64_t op;
        if (!read_ram(physical, &op, 8) || op >= 64 || !hypercalls[op]) return;
    }
    c->argument = physical;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    uint64_t at = qemu_plugin_tb_vaddr(tb);
    (void)id;
    if (at < lo || at >= hi) {
        qemu_plugin_register_vcpu_tb_exec_cb(tb, outside, NO_REGS, NULL);
        for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
            uint32_t word;
            memcpy(&word, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(tb, i)), 4);
            if ((word & 0x0a000000) != 0x08000000) continue;
            pthread_mutex_lock(&lock);
            note_code(at + 4 * i, word);
            pthread_mutex_unlock(&lock);
        }
        return;
    }
    qemu_plugin_register_vcpu_tb_exec_cb(tb, inside, NO_REGS, (void *)(uintptr_t)at);
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        uint32_t word;
        memcpy(&word, qemu_plugin_insn_data(insn), 4);
        if (word >> 20 == 0xd53) /* MRS: op0 is 2 or 3, of which bit 19 is the low one */
            qemu_plugin_register_vcpu_insn_exec_cb(insn, mrs, NO_REGS,
                                                   (void *)(uintptr_t)((word & 31) | ((word >> 5 & 0x7fff) | 0x8000) << 5));
        else if ((word & 0x3e400000) == 0x28000000 || (word & 0x3fc00000) == 0x39000000 || (word & 0x3fe00000) == 0x38000000
                 || (word & 0x3bc00000) == 0x39000000 || (word & 0x3be00000) == 0x38000000)
            qemu_plugin_register_vcpu_mem_cb(insn, store, NO_REGS, MEM_RW, (void *)(uintptr_t)word);
        else
            qemu_plugin_register_vcpu_mem_cb(insn, load, NO_REGS, MEM_RW, NULL);
    }
}

static int by_text(const void *a, const void *b) { return strcmp(((const struct row *)a)->text, ((const struct row *)b)->text); }

/* Resolves the pages that were met before the guest's tables were known, and joins the rows that become one. */
static void settle(void) {
    for (size_t i = 0; i < row_count; i++) {
        char *va = strstr(rows[i].text, " va 0x"), *rest;
        if (!va) continue;
        uint64_t ipa = translate(strtoull(va + 4, &rest, 16));
        char text[256];
        if (!ipa) continue;
        snprintf(text, sizeof text, "%.*s 0x%08" PRIx64 "%s", (int)(va - rows[i].text), rows[i].text, ipa, rest);
        free(rows[i].text);
        rows[i].text = strdup(text);
    }
    qsort(rows, row_count, sizeof *rows, by_text);
}

/* Splits "mmio write32 0xADDRESS..." at the address; false for other rows. */
static bool split(const char *text, int *head, uint64_t *address, unsigned *bytes, const char **tail) {
    const char *mmio = strstr(text, " mmio "), *at = mmio ? strstr(mmio, " 0x") : NULL;
    char *end;
    if (!at) return false;
    *head = at - text + 1;
    *bytes = strtoul(strpbrk(mmio, "0123456789"), NULL, 10) / 8;
    *address = strtoull(at + 1, &end, 16);
    *tail = end;
    return true;
}

static void finish(qemu_plugin_id_t id, void *unused) {
    (void)id, (void)unused;
    FILE *out = out_path ? fopen(out_path, "w") : stderr;
    if (!out) return;
    for (unsigned i = 0; i < CPUS; i++)
        if (cpus[i].open && cpus[i].has_esr) leave(&cpus[i], i, false); /* such as one that turns the machine off */
    settle();
    size_t kept = 0;
    for (size_t i = 0; i < row_count; i++)
        if (kept && !strcmp(rows[kept - 1].text, rows[i].text)) rows[kept - 1].count += rows[i].count;
        else rows[kept++] = rows[i];
    for (size_t i = 0, next; i < kept; i = next) {
        int head, head2;
        uint64_t first, last, address;
        unsigned bytes, bytes2;
        const char *tail, *tail2;
        next = i + 1;
        if (!split(rows[i].text, &head, &first, &bytes, &tail)) {
            fprintf(out, "%8" PRIu64 " %s\n", rows[i].count, rows[i].text);
            continue;
        }
        /* Neighbours that were accessed alike, as arrays of registers are, make one row. */
        for (last = first; next < kept && split(rows[next].text, &head2, &address, &bytes2, &tail2) && head == head2 && bytes == bytes2
             && !strncmp(rows[i].text, rows[next].text, head) && address == last + bytes && rows[next].count == rows[i].count
             && !strcmp(tail, tail2); next++)
            last = address;
        if (last == first) fprintf(out, "%8" PRIu64 " %s\n", rows[i].count, rows[i].text);
        else fprintf(out, "%8" PRIu64 " %.*s0x%08" PRIx64 "..0x%08" PRIx64 "%s\n", rows[i].count, head, rows[i].text, first, last, tail);
    }
    fclose(out);
    if (log_file) fclose(log_file);
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int count_, char **arguments) {
    const char *ram_path = NULL;
    (void)info;
    for (int i = 0; i < count_; i++) {
        char *value = strchr(arguments[i], '=');
        if (!value) continue;
        *value++ = 0;
        if (!strcmp(arguments[i], "lo")) lo = strtoull(value, NULL, 0);
        else if (!strcmp(arguments[i], "hi")) hi = strtoull(value, NULL, 0);
        else if (!strcmp(arguments[i], "base")) base = strtoull(value, NULL, 0);
        else if (!strcmp(arguments[i], "dom0")) dom0_vcpus = strtoul(value, NULL, 0);
        else if (!strcmp(arguments[i], "ram")) ram_path = strdup(value);
        else if (!strcmp(arguments[i], "out")) out_path = strdup(value);
        else if (!strcmp(arguments[i], "log")) log_file = fopen(value, "w");
        else { fprintf(stderr, "exits: no argument %s\n", arguments[i]); return 1; }
    }
    int fd = ram_path ? open(ram_path, O_RDONLY) : -1;
    struct stat status;
    if (fd < 0 || fstat(fd, &status)) { fprintf(stderr, "exits: ram= must name the machine's memory\n"); return 1; }
    ram_size = status.st_size;
    ram = mmap(NULL, ram_size, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (ram == MAP_FAILED) { perror("exits: mmap"); return 1; }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, finish, NULL);
    return 0;
}
