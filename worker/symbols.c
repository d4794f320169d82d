#include "symbols.h"

#include <dlfcn.h>
#include <dwarf.h>
#include <elfutils/libdwfl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIBRARY "libdw.so.1"

#define FUNCTIONS(F)                                                                               \
    F(dwarf_attr_integrate)                                                                        \
    F(dwarf_diename)                                                                               \
    F(dwarf_filesrc)                                                                               \
    F(dwarf_formstring)                                                                            \
    F(dwarf_formudata)                                                                             \
    F(dwarf_getscopes)                                                                             \
    F(dwarf_getscopes_die)                                                                         \
    F(dwarf_getsrc_die)                                                                            \
    F(dwarf_getsrcfiles)                                                                           \
    F(dwarf_haspc)                                                                                 \
    F(dwarf_lineno)                                                                                \
    F(dwarf_linesrc)                                                                               \
    F(dwarf_tag)                                                                                   \
    F(dwfl_begin)                                                                                  \
    F(dwfl_end)                                                                                    \
    F(dwfl_module_addrdie)                                                                         \
    F(dwfl_module_addrinfo)                                                                        \
    F(dwfl_module_getelf)                                                                          \
    F(dwfl_module_nextcu)                                                                          \
    F(dwfl_offline_section_address)                                                                \
    F(dwfl_report_end)                                                                             \
    F(dwfl_report_offline)

#define MEMBER(name) __typeof__(&name) name;
static struct {
    FUNCTIONS(MEMBER)
} dw;

static char *(*demangle)(const char *, char *, size_t *, int *); /* NULL: there is no libstdc++ */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool loaded;

static bool
find(void *library, const char *name, void *function_p)
{
    void *symbol = dlsym(library, name);

    memcpy(function_p, &symbol, sizeof(symbol));
    return symbol != NULL;
}

static void
load(void)
{
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    void *cplusplus = dlopen("libstdc++.so.6", RTLD_NOW | RTLD_LOCAL);

    if (library == NULL)
        return;
#define FIND(name)                                                                                 \
    if (!find(library, #name, &dw.name))                                                           \
        return;
    FUNCTIONS(FIND)
    loaded = true;
    if (cplusplus != NULL)
        (void)find(cplusplus, "__cxa_demangle", &demangle);
}

int
symbols_load(void)
{
    pthread_once(&once, load);
    return loaded ? 0 : -1;
}

/* ---- modules ----------------------------------------------------------------------------------
 */

/* Only what is in the file itself: nothing is looked for elsewhere, or fetched. */
static int
no_elf(Dwfl_Module *module, void **data, const char *name, Dwarf_Addr base, char **file, Elf **elf)
{
    (void)module, (void)data, (void)name, (void)base, (void)file, (void)elf;
    return -1;
}

static int
no_debug_file(Dwfl_Module *module, void **data, const char *name, Dwarf_Addr base, const char *file,
              const char *link, GElf_Word crc, char **found)
{
    (void)module, (void)data, (void)name, (void)base, (void)file, (void)link, (void)crc,
        (void)found;
    return -1;
}

/* ---- names ------------------------------------------------------------------------------------
 */

struct writer {
    char *text;
    size_t at;
};

static void __attribute__((format(printf, 2, 3))) put(struct writer *w, const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(w->text + w->at, SYMBOL_NAME - w->at, format, args);
    va_end(args);
    if (n > 0)
        w->at = w->at + (size_t)n < SYMBOL_NAME ? w->at + (size_t)n : SYMBOL_NAME - 1;
}

static void
put_function(struct writer *w, const char *name)
{
    char *plain = demangle != NULL ? demangle(name, NULL, NULL, NULL) : NULL;

    put(w, "%.80s", plain != NULL ? plain : name);
    free(plain);
}

/* As the compiler was told it, if it stands below where that ran. */
static void
put_place(struct writer *w, const char *file, const char *directory, int line)
{
    size_t n = directory != NULL ? strlen(directory) : 0;

    if (n > 0 && strncmp(file, directory, n) == 0 && file[n] == '/')
        file += n + 1;
    n = strlen(file);
    put(w, " at %s%s:%d", n > 60 ? "..." : "", n > 60 ? file + n - 57 : file, line);
}

/* Where the function was called that was inlined. */
static const char *
call_of(Dwarf_Die *unit, Dwarf_Die *inlined, int *line_p)
{
    Dwarf_Word file = 0, line = 0;
    Dwarf_Attribute attribute;
    Dwarf_Files *files;
    size_t n;

    if (dw.dwarf_formudata(dw.dwarf_attr_integrate(inlined, DW_AT_call_file, &attribute), &file) !=
            0 ||
        dw.dwarf_formudata(dw.dwarf_attr_integrate(inlined, DW_AT_call_line, &attribute), &line) !=
            0 ||
        dw.dwarf_getsrcfiles(unit, &files, &n) != 0 || file >= n)
        return NULL;
    *line_p = (int)line;
    return dw.dwarf_filesrc(files, file, NULL, NULL);
}

static bool
is_function(Dwarf_Die *die)
{
    int tag = dw.dwarf_tag(die);

    return tag == DW_TAG_inlined_subroutine || tag == DW_TAG_subprogram;
}

/* What the address is in, from the innermost function on: as it stands in the code, not in the
 * source, where an inlined function is not below its caller. To be freed. */
static int
scopes_at(Dwarf_Die *unit, Dwarf_Addr at, Dwarf_Die **scopes_p)
{
    Dwarf_Die *scopes = NULL, die;
    int n = dw.dwarf_getscopes(unit, at, &scopes), i = 0;

    while (i < n && !is_function(&scopes[i]))
        i++;
    if (i >= n) {
        free(scopes);
        return 0;
    }
    die = scopes[i];
    free(scopes);
    *scopes_p = NULL;
    return dw.dwarf_getscopes_die(&die, scopes_p);
}

/* The unit of the source that the address is of. Not all compilers write an index of these. */
static Dwarf_Die *
unit_at(Dwfl_Module *module, Dwarf_Addr at, Dwarf_Addr *bias_p)
{
    Dwarf_Die *unit = dw.dwfl_module_addrdie(module, at, bias_p);

    if (unit != NULL && dw.dwarf_haspc(unit, at - *bias_p) > 0)
        return unit;
    unit = NULL; /* with an index of some units, it was another one */
    while ((unit = dw.dwfl_module_nextcu(module, unit, bias_p)) != NULL)
        if (dw.dwarf_haspc(unit, at - *bias_p) > 0)
            break;
    return unit;
}

static const char *
directory_of(Dwarf_Die *unit)
{
    Dwarf_Attribute attribute;

    return dw.dwarf_formstring(dw.dwarf_attr_integrate(unit, DW_AT_comp_dir, &attribute));
}

/* Those that were inlined at the address, and the function that they are in. False: not known. */
static bool
put_scopes(struct writer *w, Dwfl_Module *module, Dwarf_Addr at)
{
    const char *directory, *file, *name;
    Dwarf_Die *unit, *scopes = NULL;
    int number, n, tag = 0;
    Dwarf_Addr bias = 0;
    Dwarf_Line *line;

    if ((unit = unit_at(module, at, &bias)) == NULL ||
        (line = dw.dwarf_getsrc_die(unit, at - bias)) == NULL ||
        (file = dw.dwarf_linesrc(line, NULL, NULL)) == NULL || dw.dwarf_lineno(line, &number) != 0)
        return false;
    directory = directory_of(unit);
    n = scopes_at(unit, at - bias, &scopes);
    for (int i = 0; i < n && tag != DW_TAG_subprogram; i++) {
        if (!is_function(&scopes[i]) || (name = dw.dwarf_diename(&scopes[i])) == NULL)
            continue;
        tag = dw.dwarf_tag(&scopes[i]);
        put(w, "%s", w->at > 0 ? "\n" : "");
        put_function(w, name);
        if (file != NULL)
            put_place(w, file, directory, number);
        if (tag == DW_TAG_inlined_subroutine)
            file = call_of(unit, &scopes[i], &number);
    }
    free(scopes);
    return tag == DW_TAG_subprogram;
}

static void
name_one(Dwfl_Module *module, struct symbol *symbol)
{
    struct writer w = {.text = symbol->name};
    Dwarf_Addr bias;
    const char *name;
    GElf_Off offset;
    GElf_Sym sym;

    if (module == NULL || dw.dwfl_module_getelf(module, &bias) == NULL ||
        put_scopes(&w, module, symbol->at + bias))
        return;
    w.at = 0;
    symbol->name[0] = '\0';
    name = dw.dwfl_module_addrinfo(module, symbol->at + bias, &offset, &sym, NULL, NULL, NULL);
    if (name == NULL)
        return;
    put_function(&w, name);
    put(&w, "+0x%llx", (unsigned long long)offset);
}

/* The module of symbols[i], reported once. */
static Dwfl_Module *
module_of(Dwfl *dwfl, Dwfl_Module **modules, const struct symbol *symbols, unsigned i)
{
    for (unsigned k = 0; k < i; k++)
        if (symbols[k].path != NULL && strcmp(symbols[k].path, symbols[i].path) == 0)
            return modules[k];
    return dw.dwfl_report_offline(dwfl, "", symbols[i].path, -1);
}

void
symbols_name(struct symbol *symbols, unsigned count)
{
    static const Dwfl_Callbacks none;
    Dwfl_Callbacks callbacks = none;
    Dwfl_Module **modules = calloc(count + 1, sizeof(*modules));
    Dwfl *dwfl = NULL;

    for (unsigned i = 0; i < count; i++)
        symbols[i].name[0] = '\0';
    if (modules == NULL || symbols_load() != 0)
        goto done;
    callbacks.find_elf = no_elf;
    callbacks.find_debuginfo = no_debug_file;
    callbacks.section_address = dw.dwfl_offline_section_address;
    if ((dwfl = dw.dwfl_begin(&callbacks)) == NULL)
        goto done;
    for (unsigned i = 0; i < count; i++)
        if (symbols[i].path != NULL)
            modules[i] = module_of(dwfl, modules, symbols, i);
    dw.dwfl_report_end(dwfl, NULL, NULL);
    for (unsigned i = 0; i < count; i++)
        name_one(modules[i], &symbols[i]);
done:
    if (dwfl != NULL)
        dw.dwfl_end(dwfl);
    free(modules);
}
