package payments

decision := {"verdict": "review", "code": "amount-without-limit"} if {
	input.currency != "EUR"
} else := {"verdict": "reject", "code": "amount-above-maximum"} if {
	input.method == "instant"
	input.amount_minor > 1500000
} else := {"verdict": "pass"} if {
	input.method == "instant"
} else := {"verdict": "reject", "code": "amount-above-maximum"} if {
	input.amount_minor > 5000000
} else := {"verdict": "review", "code": "amount-above-review-threshold"} if {
	input.amount_minor > 1000000
} else := {"verdict": "pass"}
