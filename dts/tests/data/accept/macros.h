#ifndef MACROS_H
#define MACROS_H
#define VALUE(x) ((x) * 3)
#define STRING(x) #x
#define JOIN(a, b) a ## b
#define NAME "a name"
#define NAME_STRING "undone"
#define NODE(n, body) node@n { reg = <n>; body };
#define LIST(...) "list", ## __VA_ARGS__
#define SHIFTED (1 << 4 | VALUE (1))
#define SELF (1 + 0)
#define OUTER(x) x
#define MACRO_UNIT 5
#endif
