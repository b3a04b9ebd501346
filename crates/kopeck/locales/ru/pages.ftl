# Слова страниц. В обоих языках одни и те же ключи; за этим следит тест.

## Везде
brand-home = kopeck, на главную
skip = К содержанию
header-navigation = Учётная запись
page-title = { $title } · kopeck
page-title-done = Готово: { $title } · kopeck
page-title-error = Ошибка: { $title } · kopeck
problems-title = Проверьте, пожалуйста
log-in = Войти
log-out = Выйти
to-start = На главную

## Главная страница для тех, кто не вошёл
landing-title = Кошелёк, на который можно положиться
landing-lead = Храните деньги в одном месте и переводите их кому угодно за мгновение.
landing-number-title = Один номер
landing-number = У вас будет номер кошелька. Назовите его тому, кто вам платит.
landing-at-once-title = Сразу
landing-at-once = Переведите сумму по номеру кошелька: когда страница это подтвердит, деньги уже там.
landing-exact-title = До копейки
landing-exact = Каждый платёж виден в истории вместе с балансом после него.

## Регистрация, вход, выход
sign-up-title = Открыть кошелёк
sign-up-lead = Это займёт полминуты. Номер кошелька появится сразу.
sign-up-submit = Открыть кошелёк
sign-up-other = Кошелёк уже есть?
log-in-title = Вход
log-in-lead = Рады видеть вас снова.
log-in-submit = Войти
log-in-other = Впервые здесь?

log-out-title = Выйти?
log-out-lead = С кошельком ничего не случится. Чтобы вернуться, войдите с почтой и паролем.
log-out-submit = Выйти
log-out-stay = Остаться
logged-out-title = Вы вышли
logged-out-lead = До встречи.
field-name = Имя
field-email = Электронная почта
field-password = Пароль
field-new-password = Пароль
hint-new-password = Не меньше { $min } символов

## Кошелёк
wallet-title = Мой кошелёк
balance = Баланс
wallet-number = Номер кошелька
wallet-number-hint = Назовите его тем, кто вам платит.
bank = Банк
bank-balance-hint = Минус здесь — это правильно: { $amount } из внесённых вами денег сейчас на кошельках людей.
bank-balance-hint-none = Баланс уйдёт в минус на сумму, которую вы внесёте. Для банка минус — это правильно.
send-title = Перевести деньги
send-submit = Перевести
deposit-title = Пополнить кошелёк
deposit-lead = Деньги, поступившие извне, зачисляются на кошелёк человека.
deposit-submit = Пополнить
field-to = Номер кошелька получателя
field-to-deposit = Номер кошелька
field-amount = Сумма, { $currency }
field-details = Сообщение
optional = необязательно
sent = Переведено { $amount } на кошелёк { $wallet }. Баланс { $balance }.
paid-in = Кошелёк { $wallet } пополнен на { $amount }.
sent-once = Перевод { $amount } на кошелёк { $wallet } прошёл один раз, { $time }, сколько бы раз эта форма ни была отправлена. Чтобы перевести столько же ещё раз, заполните форму заново.
paid-in-once = Пополнение кошелька { $wallet } на { $amount } прошло один раз, { $time }, сколько бы раз эта форма ни была отправлена. Чтобы пополнить его на столько же ещё раз, заполните форму заново.

## История
history-title = История
history-zone = Часовой пояс: { $zone }.
history-what = Операция
history-amount = Сумма
history-balance = Баланс
history-balance-after = Баланс после
entry-in = С кошелька { $wallet }
entry-out = На кошелёк { $wallet }
entry-deposit = Пополнение от банка
entry-deposit-made = Пополнение кошелька { $wallet }
history-empty-title = Пока ничего нет
history-empty = Назовите номер кошелька { $wallet } тому, кто вам должен, или пополните кошелёк через банк. Каждый платёж появится здесь.
history-empty-bank = Здесь появится всё, чем вы пополните кошельки людей.
history-pages = Страницы истории
history-newest = Самые новые
history-newer = Новее
history-older = Старее

## История в файле
statement-download = Скачать в CSV
statement-operation = Номер операции
statement-time = Время ({ $zone })
statement-currency = Валюта
