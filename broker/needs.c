#include "needs.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static char *
trim(char *word)
{
    char *end;

    while (isspace((unsigned char)*word))
        word++;
    end = word + strlen(word);
    while (end > word && isspace((unsigned char)end[-1]))
        end--;
    *end = '\0';
    return word;
}

static int
compare(const void *a, const void *b)
{
    const struct label *x = a, *y = b;
    int order = strcmp(x->key, y->key);

    if (order != 0)
        return order;
    return strcmp(x->value == NULL ? "" : x->value, y->value == NULL ? "" : y->value);
}

static void
parse(struct labels *self)
{
    char *rest = self->words, *word, *value;

    while ((word = strsep(&rest, ",")) != NULL) {
        value = strchr(word, '=');
        if (value != NULL)
            *value++ = '\0';
        word = trim(word);
        if (*word == '\0')
            continue;
        self->list[self->count++] =
            (struct label){.key = word, .value = value == NULL ? NULL : trim(value)};
    }
}

static void
normalise(struct labels *self)
{
    char *at = self->text;
    size_t kept = 0;

    if (self->count > 1)
        qsort(self->list, self->count, sizeof(*self->list), compare);
    for (size_t i = 0; i < self->count; i++) {
        const struct label *l = &self->list[i];

        if (kept > 0 && compare(l, &self->list[kept - 1]) == 0)
            continue;
        self->list[kept++] = *l;
        if (kept > 1)
            *at++ = ',';
        at = stpcpy(at, l->key);
        if (l->value != NULL) {
            *at++ = '=';
            at = stpcpy(at, l->value);
        }
    }
    self->count = kept;
}

struct labels *
labels_new(const char *text)
{
    struct labels *self;
    size_t most = 1;

    for (const char *c = text; *c != '\0'; c++)
        most += *c == ',';
    if ((self = calloc(1, sizeof(*self))) == NULL)
        return NULL;
    self->list = calloc(most, sizeof(*self->list));
    self->words = strdup(text);
    self->text = calloc(1, strlen(text) + 1);
    if (self->list == NULL || self->words == NULL || self->text == NULL) {
        labels_free(self);
        return NULL;
    }
    parse(self);
    normalise(self);
    return self;
}

void
labels_free(struct labels *self)
{
    if (self == NULL)
        return;
    free(self->list);
    free(self->words);
    free(self->text);
    free(self);
}

bool
label_found(const struct labels *have, const struct label *need)
{
    for (size_t i = 0; i < have->count; i++) {
        const struct label *l = &have->list[i];

        if (strcmp(l->key, need->key) != 0)
            continue;
        if (need->value == NULL || (l->value != NULL && strcmp(l->value, need->value) == 0))
            return true;
    }
    return false;
}

const struct label *
labels_missing(const struct labels *have, const struct labels *needs)
{
    for (size_t i = 0; i < needs->count; i++) {
        if (!label_found(have, &needs->list[i]))
            return &needs->list[i];
    }
    return NULL;
}
