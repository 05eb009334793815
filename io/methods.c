#include "io/method.h"

#include <string.h>

#define METHOD(name) extern const struct tr_io_method tr_io_method_##name;
#include "io/methods.def"
#undef METHOD

#define METHOD(name) &tr_io_method_##name,
const struct tr_io_method *const tr_io_methods[] = {
#include "io/methods.def"
	NULL,
};
#undef METHOD

const struct tr_io_method *tr_io_method_find(const char *name)
{
	for (const struct tr_io_method *const *m = tr_io_methods; *m; m++)
		if (!strcmp((*m)->name, name))
			return *m;
	return NULL;
}
