/*
 * Words that the boards share.
 * Interrupt specifiers: GIC architecture specification and its device-tree binding: kind, number, trigger.
 */

#define SPI 0                   /* numbered from interrupt 32 */
#define PPI 1                   /* numbered from interrupt 16 */

#define EDGE 1                  /* rising edge */
#define HIGH 4                  /* active high */
#define LOW 8                   /* active low */

/* With GICv2 a private interrupt's specifier also says which CPUs it goes to. */
#if GIC_VERSION == 2
#define EVERY_CPU (((1 << CPUS) - 1) << 8)
#else
#define EVERY_CPU 0
#endif

/* The upper and lower half of a 64-bit number. */
#define TWO_CELLS(number) ((number) >> 32) ((number) & 0xffffffff)

/* Private interrupts of the generic timer: secure, non-secure, virtual, hypervisor (BSA, section 3.8.1). */
#define TIMER_INTERRUPTS(trigger) \
	<PPI 13 (EVERY_CPU | trigger)>, \
	<PPI 14 (EVERY_CPU | trigger)>, \
	<PPI 11 (EVERY_CPU | trigger)>, \
	<PPI 10 (EVERY_CPU | trigger)>
