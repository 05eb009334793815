/* interrupt.c - the flag is the one mutable file-scope variable of the tools: a signal handler has
 * no other way to be told where to write. */
#include "tools/interrupt.h"

#include <signal.h>

static volatile sig_atomic_t seen;

static void on_signal(int signo)
{
	(void)signo;
	seen = 1;
}

void tr_interrupt_catch(void)
{
	/* No SA_RESTART: a read of the prompt from a terminal ends too. */
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND };

	sigemptyset(&action.sa_mask);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

bool tr_interrupt_seen(void)
{
	return seen;
}
