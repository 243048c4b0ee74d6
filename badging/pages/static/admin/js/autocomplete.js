'use strict';
// Django's file of this name changed so that the words go by POST: no address or log holds a person's name.
{
    const $ = django.jQuery;

    // Select2 names its field by the chosen row, and so not at all while nothing is chosen.
    function nameAfterLabel($, element) {
        const label = document.querySelector(`label[for="${element.id}"]`);
        const drawn = $(element).next('.select2');
        if (label) {
            label.id = label.id || `${element.id}-label`;
            const field = drawn.find('[role="combobox"]');
            field.attr('aria-labelledby', `${label.id} ${field.attr('aria-labelledby') || ''}`.trim());
            drawn.find('[role="textbox"]').attr('aria-labelledby', label.id);
            // That of several rows.
            drawn.find('.select2-search__field').attr('aria-labelledby', label.id);
        }
    }

    $.fn.djangoAdminSelect2 = function() {
        $.each(this, function(i, element) {
            // Select2 prefers the attributes that Django's widget writes.
            element.setAttribute('data-ajax--type', 'POST');
            $(element).select2({
                ajax: {
                    data: (params) => {
                        return {
                            term: params.term,
                            page: params.page,
                            app_label: element.dataset.appLabel,
                            model_name: element.dataset.modelName,
                            field_name: element.dataset.fieldName,
                            csrfmiddlewaretoken: element.form.elements.csrfmiddlewaretoken.value
                        };
                    }
                }
            });
            nameAfterLabel($, element);
        });
        return this;
    };

    $(function() {
        // Initialize all autocomplete widgets except the one in the template
        // form used when a new formset is added.
        $('.admin-autocomplete').not('[name*=__prefix__]').djangoAdminSelect2();
    });

    document.addEventListener('formset:added', (event) => {
        $(event.target).find('.admin-autocomplete').djangoAdminSelect2();
    });
}
