/* A TCG plugin for QEMU (plugin API version 1) that counts the instructions executed between two marks: HINT #96 begins, HINT #97 ends.
 *
 * Both are no operation to any CPU. For each pair a line "all inside" is written: all instructions, and those at virtual addresses from
 * lo= to hi=, the hypervisor's. One CPU; with -icount the figures repeat.
 *
 * Arguments: lo=, hi= the window; out= the file; whole=yes: a line for all that the machine does, from reset until QEMU ends.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is used of qemu-plugin.h, which Debian does not install. */
typedef uint64_t qemu_plugin_id_t;
typedef struct {
    const char *target_arch;
    struct { int min, cur; } version;
    bool system_emulation;
    struct { int smp_vcpus, max_vcpus; } system;
} qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { NO_REGS = 0 };
enum { ADD_U64 = 0 };
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, void (*)(unsigned, void *), int, void *);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, int, void *, uint64_t);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
__attribute__((visibility("default"))) int qemu_plugin_version = 1;

static const uint32_t HINT_96 = 0xd5032c1f, HINT_97 = 0xd5032c3f;

static uint64_t lo, hi, all, inside, all_before, inside_before;
static FILE *out;

static void begin(unsigned index, void *unused) {
    (void)index, (void)unused;
    all_before = all;
    inside_before = inside;
}

static void end(unsigned index, void *unused) {
    (void)index, (void)unused;
    fprintf(out, "%" PRIu64 " %" PRIu64 "\n", all - all_before, inside - inside_before);
    fflush(out);
}

static void ended(qemu_plugin_id_t id, void *unused) {
    (void)id;
    end(0, unused);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        uint64_t at = qemu_plugin_insn_vaddr(insn);
        uint32_t word;
        memcpy(&word, qemu_plugin_insn_data(insn), 4);
        if (word == HINT_96) qemu_plugin_register_vcpu_insn_exec_cb(insn, begin, NO_REGS, NULL);
        if (word == HINT_97) qemu_plugin_register_vcpu_insn_exec_cb(insn, end, NO_REGS, NULL);
        qemu_plugin_register_vcpu_insn_exec_inline(insn, ADD_U64, &all, 1);
        if (at >= lo && at < hi) qemu_plugin_register_vcpu_insn_exec_inline(insn, ADD_U64, &inside, 1);
    }
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int count, char **arguments) {
    (void)info;
    for (int i = 0; i < count; i++) {
        char *value = strchr(arguments[i], '=');
        if (!value) continue;
        *value++ = 0;
        if (!strcmp(arguments[i], "lo")) lo = strtoull(value, NULL, 0);
        else if (!strcmp(arguments[i], "hi")) hi = strtoull(value, NULL, 0);
        else if (!strcmp(arguments[i], "out")) out = fopen(value, "w");
        else if (!strcmp(arguments[i], "whole")) qemu_plugin_register_atexit_cb(id, ended, NULL);
        else { fprintf(stderr, "marks: no argument %s\n", arguments[i]); return 1; }
    }
    if (!out) { fprintf(stderr, "marks: out= must name a file that can be written\n"); return 1; }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    return 0;
}
