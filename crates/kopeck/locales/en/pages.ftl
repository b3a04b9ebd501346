# The words of the pages. Both locales have the same keys; a test sees to it.

## Everywhere
brand-home = kopeck, home
skip = Skip to content
header-navigation = Account
page-title = { $title } · kopeck
page-title-done = Done: { $title } · kopeck
page-title-error = Error: { $title } · kopeck
problems-title = Please check this
log-in = Log in
log-out = Log out
to-start = To the start page

## The start page of somebody who is not logged in
landing-title = A wallet you can count on
landing-lead = Keep your money in one place and send it to anyone in a moment.
landing-number-title = One number
landing-number = You get a wallet number. Tell it to whoever pays you.
landing-at-once-title = At once
landing-at-once = Send an amount to a wallet number: it is there when the page says so.
landing-exact-title = To the kopeck
landing-exact = Every payment is in your history, with the balance after it.

## Sign up, log in, log out
sign-up-title = Open a wallet
sign-up-lead = It takes half a minute. Your wallet number comes right after.
sign-up-submit = Open a wallet
sign-up-other = Have a wallet already?
log-in-title = Log in
log-in-lead = Good to see you again.
log-in-submit = Log in
log-in-other = New here?

log-out-title = Log out?
log-out-lead = Your wallet stays as it is. To come back, log in with your e-mail and password.
log-out-submit = Log out
log-out-stay = Stay
logged-out-title = You are logged out
logged-out-lead = See you soon.
field-name = Name
field-email = E-mail
field-password = Password
field-new-password = Password
hint-new-password = At least { $min } characters

## The wallet
wallet-title = My wallet
balance = Balance
wallet-number = Wallet number
wallet-number-hint = Tell it to those who pay you.
bank = Bank
bank-balance-hint = A minus is right here: { $amount } of the money you brought in is in people’s wallets now.
bank-balance-hint-none = It will go below zero by what you bring in. For the bank a minus is right.
send-title = Send money
send-submit = Send
deposit-title = Pay into a wallet
deposit-lead = Money that came from outside, for a person’s wallet.
deposit-submit = Pay in
field-to = Recipient’s wallet number
field-to-deposit = Wallet number
field-amount = Amount, { $currency }
field-details = Note
optional = optional
sent = Sent { $amount } to wallet { $wallet }. Balance { $balance }.
paid-in = Paid { $amount } into wallet { $wallet }.
sent-once = Sent { $amount } to wallet { $wallet } on { $time }: once, however often this form was sent. To send as much again, fill in the form anew.
paid-in-once = Paid { $amount } into wallet { $wallet } on { $time }: once, however often this form was sent. To pay in as much again, fill in the form anew.

## The history
history-title = History
history-zone = Times are in { $zone }.
history-what = What
history-amount = Amount
history-balance = Balance
history-balance-after = Balance after
entry-in = From wallet { $wallet }
entry-out = To wallet { $wallet }
entry-deposit = Paid in by the bank
entry-deposit-made = Paid into wallet { $wallet }
history-empty-title = Nothing here yet
history-empty = Tell wallet number { $wallet } to somebody who owes you, or have the bank pay in. Each payment will stand here.
history-empty-bank = What you pay into people’s wallets will stand here.
history-pages = Pages of the history
history-newest = Newest
history-newer = Newer
history-older = Older

## The history as a file
statement-download = Download as CSV
statement-operation = Operation
statement-time = Time ({ $zone })
statement-currency = Currency
