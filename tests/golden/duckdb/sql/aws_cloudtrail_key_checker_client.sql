SELECT "eventTime", "eventID", "userIdentity.arn", "awsRegion", "userIdentity.type", "userIdentity.userName", "userIdentity.accessKeyId", "userIdentity.sessionContext.sessionIssuer.arn", "userIdentity.sessionContext.attributes.mfaAuthenticated", "sourceIPAddress", "vpcEndpointId", "userAgent", "eventSource", "eventName", "errorCode", "recipientAccountId"
FROM cloudtrail
WHERE "userAgent" ILIKE '%bedrock-direct-test%' ESCAPE '\' OR "userAgent" ILIKE '%DeepAWSAnalyzer%' ESCAPE '\' OR "userAgent" ILIKE '%iam\_masscek%' ESCAPE '\' OR "userAgent" ILIKE '%TruffleHog%' ESCAPE '\'
ORDER BY "eventTime", "eventID";
